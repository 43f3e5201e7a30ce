"""The log that a person reads, and the files beside the checkpoints that have the rest."""

from __future__ import annotations

import json
import logging
import re
from types import SimpleNamespace

import pytest
from pipeline import run
from training.conftest import arguments, manifests  # noqa: F401 (fixtures)

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.curves import read_runs
from summarymixing_fairseq.training.log_file import in_words
from summarymixing_fairseq.training.patches import logs

RECORD = {"epoch": 2, "update": 1.5, "loss": "6.2512", "accuracy": "0.5", "ups": "0.5", "num_updates": "1500"}
RECORD |= {"lr": "0.000123456", "audio_hours": "12.345", "wps": "9"}
SAID = "loss 6.251, accuracy 0.5, 12.35 h heard, learning rate 0.000123"


@pytest.mark.parametrize(
    ("limits", "place"),
    [
        ((30_000, 0), "update 1,500 of 30,000, 15 h 50 min left"),
        ((1_530, 0), "update 1,500 of 1,530, 60 s left"),
        ((1_500, 0), "update 1,500 of 1,500"),
        ((0, 3), "update 1,500, epoch 1.5 of 3, 50 min left"),
        ((0, 0), "update 1,500"),
    ],
)
def test_a_line_of_training(limits, place):
    assert in_words("train_inner", json.dumps(RECORD), *limits) == f"{place}: {SAID}"


def test_a_line_of_validation():
    record = {"epoch": 2, "dev_loss": "3.5", "dev_wer": "41.25", "dev_num_updates": "1500", "dev_best_wer": "40"}
    assert in_words("dev", json.dumps(record), 0, 0) == "dev, after update 1,500: loss 3.5, of words 41.25"
    assert in_words("dev", '{"dev_rank_latents": "3.5", "dev_num_updates": "0"}', 0, 0) == "dev, after update 0"


@pytest.mark.parametrize(("field", "writer"), [("tensorboard_logdir", "SummaryWriter"), ("wandb_project", "wandb")])
def test_a_logger_that_is_asked_for_and_missing(field, writer, monkeypatch):
    monkeypatch.setattr(logs.progress_bar, writer, None)
    extra = field.partition("_")[0]
    with pytest.raises(InputError, match=rf"common\.{field} needs the extra {extra}: pip install .*\[{extra}\]"):
        logs.read(SimpleNamespace(common={field: "x"}))


def test_a_line_that_does_not_fit_on_the_disk_is_dropped(tmp_path, capsys):
    file = logs._File(tmp_path / "log")
    file.stream.close()
    file.emit(logging.LogRecord("x", logging.INFO, "", 0, "said", None, None))
    assert capsys.readouterr().err == ""


def test_names_do_not_steer_the_terminal():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "a\x1b[2Jb.wav\n  left out", None, None)
    first, second = logs._Words().format(record).split("\n")
    assert first.endswith("warning: a\\x1b[2Jb.wav") and second == "  left out"


def test_a_training(arguments, tmp_path):  # noqa: F811
    """The terminal has a few lines in words, the folder all that is said and the numbers, which `curves` reads.

    TensorBoard gets the same numbers.
    """
    save_dir, board = tmp_path / "mine", tmp_path / "board"
    options = ["common.log_format=simple", "dataset.disable_validation=false", f"common.tensorboard_logdir={board}"]
    done = run("fairseq-hydra-train", *arguments(save_dir, 2, *options))
    shown = [line[9:] for line in done.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(shown) < 16 and not re.search(r"^\{|\] - \{|\(encoder\)", done.stdout, re.MULTILINE)
    for start in (
        "the run:",
        r"update 1 of 2(, \d+ s left)?: loss",
        r"update 2 of 2: loss .*h heard, learning rate ",
        "valid, ",
    ):
        assert [line for line in shown if re.match(start, line)], (start, shown)
    text = (save_dir / "train.log").read_text()
    assert "'log_interval': 1" in text and "(encoder)" in text and '"num_updates": "2"' in text
    lines = [json.loads(line) for line in (save_dir / "log.jsonl").read_text().splitlines()]
    assert [line["num_updates"] for line in lines if "num_updates" in line] == ["1", "2"]
    records = read_runs([save_dir / "log.jsonl"])["mine"]
    assert [(record["num_updates"], "valid_loss" in record) for record in records if "loss" not in record][-1] == (
        2,
        True,
    )
    events = b"".join(path.read_bytes() for path in board.rglob("*tfevents*"))
    assert all(name in events for name in (b"accuracy", b"audio_hours", b"masked"))
