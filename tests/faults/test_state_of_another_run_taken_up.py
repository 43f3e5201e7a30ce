"""A run does not go on from the checkpoint of one with other settings, unless it is told to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pipeline import BIN, RECIPES, ROOT, TINY_MODEL, run
from training.conftest import load

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches.resuming import check_settings

SAVED = {
    "common": {"seed": 1, "log_interval": 100},
    "dataset": {"train_subset": "train", "max_tokens": 800, "num_workers": 1},
    "optimization": {"lr": [0.001], "max_update": 10, "update_freq": [1], "clip_norm": 1.0},
    "checkpoint": {"save_dir": "a", "best_checkpoint_metric": "loss"},
    "model": {"_name": "wav2vec_ctc", "w2v_path": "a.pt", "dropout": 0.1, "removed_since": 3},
    "optimizer": {"_name": "adam", "lr": [0.001], "adam_eps": 1e-6},
    "lr_scheduler": {"_name": "tri_stage", "max_update": 10, "phase_ratio": [0.1, 0.4, 0.5]},
    "task": {"_name": "speech_finetuning", "data": "a", "labels": "ltr"},
}


def changed(name: str, value: object) -> dict:
    group, field = name.split(".")
    return {**SAVED, group: {**SAVED[group], field: value}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("common.log_interval", 1),
        ("dataset.max_tokens", 1600),
        ("dataset.num_workers", 0),
        ("optimization.max_update", 20),
        ("optimization.update_freq", [2]),
        ("checkpoint.save_dir", "b"),
        ("model.w2v_path", "b.pt"),
        ("model.added_since", 1),
        ("lr_scheduler.max_update", 20),
        ("task.data", "b"),
    ],
)
def test_what_may_change(name, value):
    check_settings(SAVED, changed(name, value), "checkpoint_last.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("common.seed", 2),
        ("dataset.train_subset", "other"),
        ("optimization.lr", [0.002]),
        ("checkpoint.best_checkpoint_metric", "wer"),
        ("model.dropout", 0.2),
        ("model._name", "other"),
        ("optimizer.adam_eps", 1e-8),
        ("lr_scheduler.phase_ratio", [0.2, 0.3, 0.5]),
        ("task.labels", "phn"),
    ],
)
def test_what_may_not(name, value):
    group, field = name.split(".")
    with pytest.raises(InputError) as error:
        check_settings(SAVED, changed(name, value), "run/checkpoint_last.pt")
    assert str(error.value) == (
        f"run/checkpoint_last.pt was written by a run of other settings: {name}={SAVED[group][field]}, now {value}. "
        "Choose another checkpoint.save_dir or delete that checkpoint; to go on from it all the same: "
        "checkpoint.restore_file=run/checkpoint_last.pt"
    )


def test_many_fields_are_counted():
    other = {**SAVED, "model": {**SAVED["model"], **{f"field{n}": n for n in range(12)}}}
    mine = {**other, "model": {name: f"{value}!" for name, value in other["model"].items() if name != "_name"}}
    mine["model"]["_name"] = "wav2vec_ctc"
    with pytest.raises(InputError, match=r"model\.dropout=0\.1, now 0\.1!, .* and 6 more\. Choose"):
        check_settings(other, mine, "x.pt")


def test_a_sweep_whose_runs_share_a_folder_is_refused(arguments, tmp_path):
    given, sweep = arguments(tmp_path / "run", 1), f"hydra.sweep.dir={tmp_path}"
    done = run("fairseq-hydra-train", "-m", *given, sweep, "optimization.lr=[0.001],[0.002]", check=False)
    assert done.returncode
    assert "optimization.lr=[0.001], now [0.002]. Choose another checkpoint.save_dir" in done.stdout + done.stderr
    assert load(tmp_path / "run" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 1
    # told to, it goes on: with another length anyway, and with other settings where the file is named
    longer = [
        *arguments(tmp_path / "run", 2),
        "optimization.lr=[0.001]",
        "common.log_interval=2",
        "dataset.num_workers=1",
    ]
    run("fairseq-hydra-train", *longer)
    named = f"checkpoint.restore_file={tmp_path}/run/checkpoint_last.pt"
    run("fairseq-hydra-train", *arguments(tmp_path / "run", 3), "optimization.lr=[0.002]", named)
    assert load(tmp_path / "run" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3


@pytest.mark.long
def test_relative_paths_in_a_sweep(manifests, tmp_path):
    """They are meant from where it is typed, as those of a single run are."""
    config = Path("examples/pretraining").resolve()
    options = ["optimization.max_update=1", "common.cpu=true", "dataset.num_workers=0", *TINY_MODEL]
    (tmp_path / "data").symlink_to(manifests)
    command = ["--config-dir", config, "--config-name", RECIPES["pretraining"], "task.data=data", *options]
    sweep = ["optimization.lr=[0.001],[0.002]", "checkpoint.save_dir=run${hydra:job.num}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [str(argument) for argument in (BIN / "fairseq-hydra-train", "-m", *command, *sweep)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert all((tmp_path / f"run{number}" / "checkpoint_last.pt").is_file() for number in range(2))
