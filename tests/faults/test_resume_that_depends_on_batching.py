"""A run that is taken up with other batches goes on at the same share of the epoch, and says so."""

from __future__ import annotations

import logging

import pytest
import torch
from fairseq.data.iterators import EpochBatchIterator
from training.conftest import NOISY, load


class Numbers(torch.utils.data.Dataset):
    """Clips of one number each."""

    def __init__(self, clips: int):
        self.clips = clips

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return self.clips


def iterator(batch_size: int, processes: int = 1, workers: int = 0, clips: int = 120) -> EpochBatchIterator:
    batches = [list(range(start, min(clips, start + batch_size))) for start in range(0, clips, batch_size)]
    return EpochBatchIterator(Numbers(clips), list, batches, num_shards=processes, num_workers=workers)


def saved_after(batches: int, batch_size: int, processes: int = 1) -> dict:
    taken = iterator(batch_size, processes)
    epoch = taken.next_epoch_itr()
    for _ in range(batches):
        next(epoch)
    return taken.state_dict()


@pytest.mark.parametrize(
    ("batch_size", "processes", "position", "batches"),
    [(10, 1, 6, 12), (20, 1, 3, 6), (5, 1, 12, 24), (10, 2, 3, 6), (20, 2, 2, 3), (120, 1, 0, 1), (1, 1, 60, 120)],
)
def test_the_share_of_the_epoch_is_kept(batch_size, processes, position, batches, caplog):
    caplog.set_level(logging.INFO)
    other = iterator(batch_size, processes)
    other.load_state_dict(saved_after(6, 10))
    assert (other.iterations_in_epoch, len(other), other.epoch) == (position, batches, 1)
    assert sum(1 for _ in other.next_epoch_itr()) == batches - position
    said = [record.getMessage() for record in caplog.records if "going on after" in record.getMessage()]
    assert len(said) == int((batch_size, processes) != (10, 1))


def test_near_the_end_of_an_epoch():
    """fairseq: "dataloader mismatch, please report this to the fairseq developers"."""
    for batch_size in (10, 20, 60, 120):
        other = iterator(batch_size)
        other.load_state_dict(saved_after(11, 10))
        assert 0 <= other.iterations_in_epoch < len(other)


@pytest.mark.parametrize("after", [6, 7, 11])
def test_more_processes_and_fewer_clips_past_half_of_an_epoch(after):
    """fairseq: the same error at each start."""
    for processes, clips in ((2, 120), (4, 120), (1, 60), (1, 10), (2, 30)):
        other = iterator(10, processes, clips=clips)
        other.load_state_dict(saved_after(after, 10))
        batches, position = len(other), other.iterations_in_epoch
        assert position == min(round(after / 12 * batches), batches - 1)
        assert sum(1 for _ in other.next_epoch_itr()) == batches - position


def test_an_epoch_that_has_ended_stays_ended():
    other = iterator(20)
    other.load_state_dict(saved_after(12, 10))
    assert (other.epoch, other.iterations_in_epoch) == (2, 0)


def test_a_checkpoint_without_the_number_of_batches():
    state = saved_after(6, 10)
    del state["batches"]
    for batch_size, position in ((10, 6), (5, 6), (40, 2)):
        other = iterator(batch_size)
        other.load_state_dict(state)
        assert other.iterations_in_epoch == position


def test_workers_change_nothing(caplog):
    caplog.set_level(logging.INFO)
    other = iterator(10, workers=1)
    other.load_state_dict(saved_after(6, 10))
    assert other.iterations_in_epoch == 6 and "going on after" not in caplog.text


def test_a_training_with_other_batches(zygote, arguments, tmp_path):
    options = [*NOISY, "dataset.max_tokens=16000"]
    zygote.run(arguments(tmp_path, 8, *options), tmp_path / "log")
    at = load(tmp_path / "checkpoint_last.pt")["extra_state"]["train_iterator"]
    assert at["iterations_in_epoch"] == 8 < at["batches"]
    zygote.run(arguments(tmp_path, 9, *NOISY, "dataset.max_tokens=160000"), tmp_path / "log")
    log = (tmp_path / "log").read_text()
    assert f"batches a process where the checkpoint had {at['batches']} (dataset.max_tokens" in log
    assert load(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 9
