"""The console script itself, and `summarymixing configs`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, run

from summarymixing_fairseq.commands.configs import GROUPS, config_names
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.version import __version__


def test_version_and_module_entry() -> None:
    assert run("summarymixing", "--version").stdout.strip() == __version__
    assert run("python", "-m", "summarymixing_fairseq", "--version").stdout.strip() == __version__


# each with a checkpoint or a clip that is not there
GONE = [
    "decode gone.pt clip.wav",
    "features gone.pt clip.wav --dest x",
    "align gone.pt clip.wav --text clip.txt",
    "export gone.pt x.safetensors",
    "average gone.pt gone.pt --dest x.pt",
    "analyse gone.pt --data x --results x",
    "decode {there} gone.wav",
]


def test_what_is_not_there_is_told_before_torch_is_imported() -> None:
    program = f"""
import sys
from summarymixing_fairseq.commands.main import main
for command in {[command.format(there=__file__) for command in GONE]}:
    assert main(command.split()) == 1, command
assert not {{"torch", "fairseq"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(GONE) and all("gone." in line for line in lines)


def test_no_line_of_fairseqs_own_import(toned: Path, tmp_path: Path) -> None:
    """`analyse` imports it before it registers our models, and draws plots by a library that logs much at DEBUG."""
    program = f"""
import logging, sys
from summarymixing_fairseq.commands.main import main
assert main(["analyse", {str(toned)!r}, "--data", "gone", "--results", {str(tmp_path / "out")!r}]) == 1
assert "fairseq" in sys.modules and logging.getLogger().level == logging.WARNING
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1 and "gone" in done.stderr, done.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_a_folder_of_configurations(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", group]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == ROOT / "examples" / group
    assert config_names(group) == sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def test_all_groups_and_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    listed = capsys.readouterr().out.split()
    for group in GROUPS:
        assert {group, str(ROOT / "examples" / group), *config_names(group)} <= set(listed)
