"""The quickstart end to end on synthesised speech, with as few updates as its schedules take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT

OPTIONS = ("--source", "synthesiser", "--pretrain-updates", "2", "--finetune-updates", "2")


def quickstart(dest: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "examples/quickstart/run.py", "--dest", str(dest), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    dest = tmp_path_factory.mktemp("quickstart")
    done = quickstart(dest, *OPTIONS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return dest, done.stdout


def test_report_holds_what_was_decoded(finished: tuple[Path, str]) -> None:
    dest, stdout = finished
    report = (dest / "report.md").read_text()
    for name in ("finetune", "scratch"):
        scores = json.loads((dest / f"decode_{name}" / "scores.json").read_text())
        assert scores["utterances"] == 60
        assert re.search(rf"\| {scores['cer']:.3f} \| [\d.]+ to [\d.]+ \| {scores['wer']:.3f} \|", report)
        assert re.search(rf"\| {scores['cer']:.3f} ", stdout)
    for name in ("curves.png", "curves_finetune.png"):
        assert (dest / name).read_bytes().startswith(b"\x89PNG") and f"({name})" in report


def test_held_out_texts_are_in_no_training_split(finished: tuple[Path, str]) -> None:
    data = finished[0] / "corpus" / "finetune"
    texts = {split: set((data / f"{split}.wrd").read_text().splitlines()) for split in ("train", "valid", "test")}
    assert len(texts["test"]) == 60
    assert not texts["test"] & (texts["train"] | texts["valid"])


def test_a_second_run_skips_every_stage_and_other_options_are_refused(finished: tuple[Path, str]) -> None:
    dest, _ = finished
    again = quickstart(dest, *OPTIONS)
    assert again.returncode == 0 and again.stdout.count("done before") == 6
    other = quickstart(dest, *OPTIONS[:-1], "3")
    assert other.returncode == 1 and "was made with other options" in other.stderr
