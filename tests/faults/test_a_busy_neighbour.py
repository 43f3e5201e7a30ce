"""OpenMP's threads do not spin while they wait: beside another process they would take its core, and it theirs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pipeline import ROOT

CODE = """
import os, subprocess, sys
from summarymixing_fairseq.system import command, processes

def main():
    code = "import os; print(os.environ['OMP_WAIT_POLICY'])"
    print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules, flush=True)
    return processes.run([sys.executable, "-c", code]).returncode

command.as_script(main)
"""


@pytest.mark.parametrize(("given", "expected"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_commands_and_what_they_start_wait_without_spinning(given, expected, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected, "False", expected]


def test_every_script_that_starts_processes_is_run_so():
    for path in (ROOT / "examples").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^if __name__ == ", text, re.MULTILINE) and re.search(r"subprocess|processes|run_stage", text):
            assert "as_script(" in text or "OMP_WAIT_POLICY" in text, path


def test_trainings_on_a_cpu_are_told():
    folder = "examples/pretraining/run_config"
    for path in ("docs/pretraining.md", f"{folder}/torchrun_cpu.yaml", f"{folder}/local.yaml"):
        assert "OMP_WAIT_POLICY=passive" in (ROOT / path).read_text(encoding="utf-8"), path
