"""Checkpoints in the background: of the moment of saving, in order, whole, and never lost without a word."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.trainer import Trainer
from training.conftest import load
from zygote import Forked

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training import patches
from summarymixing_fairseq.training.patches import background, checkpoints


class TinyTrainer:
    """What fairseq's saving asks a trainer for; its training adds one to a weight."""

    data_parallel_rank, checkpoint_suffix, should_save_checkpoint_on_current_rank = 0, "", True
    task = SimpleNamespace(cfg=SimpleNamespace(background_checkpoints=True))
    save_checkpoint, state_dict = Trainer.save_checkpoint, Trainer.state_dict

    def __init__(self, folder: Path, **options: object):
        self.cfg = SimpleNamespace(checkpoint=CheckpointConfig(save_dir=str(folder), **options))
        self.updates, self.weight = 0, torch.zeros(3)

    def consolidate_optimizer(self) -> None:
        pass

    def get_num_updates(self) -> int:
        return self.updates

    def cumulative_training_time(self) -> float:
        return 0.0

    def train_and_save(self, loss: float) -> None:
        self.updates += 1
        self.weight += 1
        epoch = SimpleNamespace(epoch=1, end_of_epoch=lambda: False, state_dict=dict)
        checkpoint_utils.save_checkpoint(self.cfg.checkpoint, self, epoch, loss)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """``build(**options)``: a trainer that saves at every update."""
    monkeypatch.setattr(background, "_state_dict", lambda self: {"model": {"weight": self.weight}, "extra_state": {}})
    monkeypatch.setattr(background, "_end_after_writing", lambda: None)
    monkeypatch.delattr(checkpoint_utils.save_checkpoint, "best", raising=False)
    yield lambda **options: TinyTrainer(tmp_path, save_interval_updates=1, **options)
    monkeypatch.delattr(checkpoint_utils.save_checkpoint, "best", raising=False)


@pytest.fixture
def disk(monkeypatch) -> threading.Event:
    """A disk that takes nothing before this is set."""
    event, write = threading.Event(), checkpoints._Output.write

    def slow(self: object, data: bytes) -> int:
        assert event.wait(60)
        return write(self, data)

    monkeypatch.setattr(checkpoints._Output, "write", slow)
    return event


def weight_in(path: Path) -> float:
    return float(load(path)["model"]["weight"][0])


def test_training_goes_on_and_the_file_is_of_the_moment_of_saving(build, disk, tmp_path):
    trainer = build()
    trainer.train_and_save(loss=5.0)
    assert not list(tmp_path.glob("*.pt"))
    threading.Timer(0.2, disk.set).start()
    trainer.train_and_save(loss=6.0)  # in place, then waits for the save before
    assert weight_in(tmp_path / "checkpoint_1_1.pt") == weight_in(tmp_path / "checkpoint_best.pt") == 1
    background.wait()
    assert weight_in(tmp_path / "checkpoint_1_2.pt") == weight_in(tmp_path / "checkpoint_last.pt") == 2
    assert weight_in(tmp_path / "checkpoint_1_1.pt") == weight_in(tmp_path / "checkpoint_best.pt") == 1
    assert len(os.listdir(tmp_path)) == 4


def test_a_copy_that_a_script_asks_for_waits_for_the_checkpoint(build, disk, tmp_path):
    """fairseq's ``task.post_save_script`` copies what was saved, as soon as saving returns."""
    build().train_and_save(loss=5.0)
    threading.Timer(0.2, disk.set).start()
    assert background.second_name(str(tmp_path / "checkpoint_1_1.pt"), str(tmp_path / "checkpoint_eval_1.pt"))
    assert weight_in(tmp_path / "checkpoint_eval_1.pt") == 1


def test_a_failed_write_ends_the_run_at_the_next_save(build, tmp_path, monkeypatch):
    trainer = build()
    trainer.train_and_save(loss=5.0)
    background.wait()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        trainer.train_and_save(loss=4.0)
        with pytest.raises(InputError, match=r"checkpoint .*/checkpoint_1_2\.pt cannot be written: No space left"):
            trainer.train_and_save(loss=3.0)
    # neither the second names of the failed file nor the save after it
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_1_1.pt", "checkpoint_best.pt", "checkpoint_last.pt"]
    assert weight_in(tmp_path / "checkpoint_last.pt") == weight_in(tmp_path / "checkpoint_best.pt") == 1


def test_as_many_as_asked_for_are_whole_while_one_is_written(build, disk, tmp_path):
    trainer = build(keep_interval_updates=2)
    for update in range(1, 7):
        disk.clear()
        trainer.train_and_save(loss=5.0)
        whole = {path.name for path in tmp_path.glob("checkpoint_1_*.pt")}
        assert whole == {f"checkpoint_1_{u}.pt" for u in (update - 2, update - 1) if u > 0}
        disk.set()
        background.wait()


@pytest.mark.parametrize("last", [{"should_stop": True}, {"epoch": 3}, {"stop_min_lr": 1e-9}])
def test_the_end_of_a_run_waits_and_tells(build, disk, monkeypatch, last):
    def train_epoch(should_stop: bool = False, epoch: int = 2, stop_min_lr: float = -1.0) -> None:
        monkeypatch.setattr(patches.trainer, "_train", lambda *_: ([5.0], should_stop))
        limits = SimpleNamespace(max_epoch=3, stop_min_lr=stop_min_lr, max_update=0, stop_time_hours=0)
        common = SimpleNamespace(amp=False)
        cfg = SimpleNamespace(optimization=limits, checkpoint=CheckpointConfig(), common=common)
        epoch_itr = SimpleNamespace(next_epoch_idx=epoch + 1)
        assert patches.trainer.train(cfg, trainer, None, epoch_itr) == ([5.0], should_stop)

    trainer = build()
    trainer.train_and_save(loss=5.0)
    train_epoch()
    assert not background._last.done()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    threading.Timer(0.2, disk.set).start()
    with pytest.raises(InputError, match="Input/output error"):
        train_epoch(**last)


INTERRUPTED = """
import os, sys, time, torch
from summarymixing_fairseq.training.patches import background
fsync, os.fsync = os.fsync, lambda descriptor: time.sleep(1) or fsync(descriptor)
first, last = sys.argv[1:]
background._in_background = True
background._end_after_writing()
background.save_whole({"model": {"weight": torch.ones(3)}}, first)
background.second_name(first, last)
print("saved", flush=True)
time.sleep(60)
"""


def test_an_interruption_waits_for_the_write(zygote, tmp_path):
    processes = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        folder = tmp_path / number.name
        folder.mkdir()
        names = [folder / "checkpoint_1_1.pt", folder / "checkpoint_last.pt"]
        processes[number] = Forked(zygote, ["python", "-c", INTERRUPTED, *names], {})
    for number, process in processes.items():
        process.wait_for("saved")
        os.kill(process.pid, number)
    for number, process in processes.items():
        assert process.wait(30) in (-number, 128 + number)
        folder = tmp_path / number.name
        assert sorted(os.listdir(folder)) == ["checkpoint_1_1.pt", "checkpoint_last.pt"]
        assert weight_in(folder / "checkpoint_last.pt") == 1
