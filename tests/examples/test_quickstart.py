"""The quickstart end to end on synthesised speech, with as few updates as its schedules take."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from zygote import shared_zygote

OPTIONS = ("--source", "synthesiser", "--pretrain-updates", "2", "--seeds", "1", "--finetune-updates", "2")


# espeak-ng would speak for longer than all stages take together; stages are forks, which inherit this
FEWER_PROMPTS = """if True:
    import runpy, sys
    sys.path[:0] = ["examples/quickstart", "examples/corpora"]
    import sentences
    compose = sentences.compose_prompts
    sentences.compose_prompts = lambda language, count: compose(language, count // (4 if language == "en" else 15))
    sys.argv[0] = "examples/quickstart/run.py"
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def quickstart(dest: Path, *options: str) -> subprocess.CompletedProcess:
    return shared_zygote().complete(["python", "-c", FEWER_PROMPTS, "--dest", dest, *options])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    dest = tmp_path_factory.mktemp("quickstart")
    done = quickstart(dest, *OPTIONS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return dest, done.stdout


def test_report_holds_what_was_decoded(finished: tuple[Path, str]) -> None:
    dest, stdout = finished
    report = (dest / "report.md").read_text()
    for model in ("finetune", "scratch"):
        scores = json.loads((dest / f"decode_{model}_5min_1" / "scores.json").read_text())
        assert scores["utterances"] == 60
        row = f"| {scores['cer']:.3f} |  | {scores['cer']:.3f} | {scores['wer']:.3f} |"  # one seed has no interval
        assert row in report and row in stdout
    of_stages = [report.index(f"| {name} |") for name in ("corpus", "pretrain", "scratch_5min_1", "finetune_5min_1")]
    assert of_stages == sorted(of_stages)  # as they are planned, whichever ends first
    assert "| phones told apart, %: layer4 |" in report and "| rank: latents |" in report
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
