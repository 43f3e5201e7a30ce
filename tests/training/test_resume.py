"""A run that was stopped, however rudely, gives bit for bit what one gives that was not."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from fairseq.data.iterators import CountingIterator, GroupedIterator
from pipeline import records
from trainers import NOISE, save, trainer_of
from training.conftest import NOISY, differences, load

UPDATES = 9


def assert_same(first: Path, second: Path) -> None:
    """Parameters, optimizer and schedule of two checkpoints."""
    first_state, second_state = load(first), load(second)
    for part in ("model", "last_optimizer_state"):
        assert differences(first_state[part], second_state[part]) == []
    histories = [state["optimizer_history"][-1] for state in (first_state, second_state)]
    assert histories[0] == histories[1]


@pytest.fixture(scope="module")
def uninterrupted(zygote, arguments, tmp_path_factory) -> Path:
    """The folder of a run of 9 updates, two batches each, that was never stopped; its data come from two workers."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    options = ["optimization.update_freq=[2]", "dataset.num_workers=2"]
    zygote.run(arguments(folder, UPDATES, *NOISY, *options), folder / "log")
    return folder


@pytest.mark.parametrize("epoch", [1, 3])
def test_resuming_is_exact(zygote, arguments, uninterrupted, tmp_path, epoch):
    """In the middle of the first and of a later epoch, with data read by this process rather than by workers."""
    saved = sorted(uninterrupted.glob(f"checkpoint_{epoch}_*.pt"))
    assert saved, os.listdir(uninterrupted)
    state = load(saved[0])
    assert state["extra_state"]["train_iterator"]["iterations_in_epoch"] > 0
    shutil.copy(saved[0], tmp_path / "checkpoint_last.pt")
    zygote.run(arguments(tmp_path, UPDATES, *NOISY, "optimization.update_freq=[2]"), tmp_path / "log")
    updates = state["optimizer_history"][-1]["num_updates"]
    assert f"(epoch {epoch} @ {updates} updates)" in (tmp_path / "log").read_text()
    assert load(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == UPDATES > updates
    assert_same(uninterrupted / "checkpoint_last.pt", tmp_path / "checkpoint_last.pt")


def test_resuming_is_exact_where_batches_are_made_once(zygote, arguments, tmp_path):
    """fairseq makes them by the epoch that a run begins with."""
    options = [*NOISY, "+task.rebuild_batches=false", "optimization.update_freq=[1]"]
    zygote.run(arguments(tmp_path / "whole", 14, *options), tmp_path / "log")
    saved = sorted((tmp_path / "whole").glob("checkpoint_2_*.pt"))
    (tmp_path / "half").mkdir()
    shutil.copy(saved[0], tmp_path / "half" / "checkpoint_last.pt")
    zygote.run(arguments(tmp_path / "half", 14, *options), tmp_path / "log")
    assert_same(tmp_path / "whole" / "checkpoint_last.pt", tmp_path / "half" / "checkpoint_last.pt")


def test_validation_is_that_of_a_run_that_was_not_stopped(zygote, arguments, tmp_path):
    """The same batches, crops and masks, and so the same checkpoint_best.pt."""
    options = [*NOISY, "dataset.disable_validation=false", "dataset.validate_interval_updates=1"]
    zygote.run(arguments(tmp_path / "whole", 5, *options, "dataset.num_workers=1"), tmp_path / "whole.log")
    saved = sorted((tmp_path / "whole").glob("checkpoint_*_3.pt"))
    (tmp_path / "half").mkdir()
    shutil.copy(saved[0], tmp_path / "half" / "checkpoint_last.pt")
    zygote.run(arguments(tmp_path / "half", 5, *options), tmp_path / "half.log")
    whole, half = (
        {
            record["valid_num_updates"]: record["valid_loss"]
            for record in records((tmp_path / name).read_text(), "valid")
        }
        for name in ("whole.log", "half.log")
    )
    assert list(whole) == ["1", "2", "3", "4", "5"] and half == {update: whole[update] for update in ("4", "5")}


def kill_and_go_on(zygote, arguments, folder: Path, num_kills: int, seed: int, *more: str) -> dict[str, int]:
    """Kill a run again and again, at random moments and as it writes, let it finish, and hold it to one that was not.

    Args:
        more: overrides of the run that is killed.

    Returns:
        counts of kills: all, those in the middle of a write, and those that left a temporary file.
    """
    generator = random.Random(seed)
    num_updates = 12 + 20 * num_kills  # an update may take 5 ms
    options = [*NOISY, "checkpoint.keep_interval_updates=3"]
    zygote.run(arguments(folder / "reference", num_updates, *options), folder / "reference.log")
    run, log = folder / "run", folder / "run.log"
    options += more
    counts = {"kills": 0, "while writing": 0, "temporary files": 0, "resumed": 0}
    last = 0
    for number in range(num_kills):
        log.unlink(missing_ok=True)
        pid = zygote.start(arguments(run, num_updates, *options), log)
        while "begin training epoch" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.01)
        # while a checkpoint is being written, or once one is there
        last_path = run / "checkpoint_last.pt"
        before = last_path.stat().st_mtime_ns if last_path.exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if number % 2 and any(name.endswith(".tmp") for name in _names(run)):
                break
            if not number % 2 and last_path.exists() and last_path.stat().st_mtime_ns > before:
                break
        time.sleep(generator.uniform(0, 0.02))
        os.killpg(pid, signal.SIGKILL)
        assert zygote.wait(pid) == -signal.SIGKILL, log.read_text()[-2000:]
        counts["kills"] += 1
        temporary = [name for name in _names(run) if name.endswith(".tmp")]
        counts["temporary files"] += len(temporary)
        counts["while writing"] += bool(temporary)
        # nothing under a final name is partial, and the run went on from where the last one had been
        for path in run.glob("*.pt"):
            load(path)
        if last:
            assert f"@ {last} updates)" in log.read_text()
            counts["resumed"] += 1
        now = load(last_path)["optimizer_history"][-1]["num_updates"] if last_path.exists() else 0
        assert now >= last
        last = now
    zygote.run(arguments(run, num_updates, *options), log)
    assert_same(folder / "reference" / "checkpoint_last.pt", run / "checkpoint_last.pt")
    assert not [name for name in _names(run) if name.endswith(".tmp")]
    return counts


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


@pytest.mark.long
def test_three_kills(zygote, arguments, tmp_path):
    kill_and_go_on(zygote, arguments, tmp_path, 3, seed=1)


@pytest.mark.long
def test_three_kills_with_checkpoints_in_the_background(zygote, arguments, tmp_path):
    options = ["+task.background_checkpoints=true"]
    assert kill_and_go_on(zygote, arguments, tmp_path, 3, 3, *options)["while writing"] >= 1


@pytest.mark.long
def test_twenty_kills(zygote, arguments, tmp_path):
    """With its count printed: pytest -m long -s."""
    counts = kill_and_go_on(zygote, arguments, tmp_path, 20, seed=2)
    print(f"\n{counts}")
    assert counts["while writing"] >= 3 and counts["resumed"] >= 10


@pytest.mark.parametrize("heard", range(9))
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 4, 9])
def test_what_is_left_of_an_epoch_is_heard(heard, chunk_size):
    """An epoch may be taken up where ``optimization.update_freq`` is another: at the middle of an update."""
    batches = CountingIterator(range(heard, 8), start=heard)
    assert [batch for group in GroupedIterator(batches, chunk_size) for batch in group] == list(range(heard, 8))
    assert not batches.has_next()
    batches = CountingIterator(range(heard, 8), start=heard)
    groups = list(GroupedIterator(batches, chunk_size, skip_remainder_batch=True))
    assert [batch for group in groups for batch in group] == list(range(heard, 8))[
        : (8 - heard) // chunk_size * chunk_size
    ]
    assert all(len(group) == chunk_size for group in groups) and not batches.has_next()


def test_an_empty_batch_at_the_end_of_an_epoch_changes_nothing(tmp_path):
    """fairseq gives one to processes that have a batch less than others, and left out what they heard before."""
    weights = []
    for batches in ([NOISE], [NOISE, {}]):
        trainer = trainer_of(tmp_path)
        trainer.train_step(batches)
        weights.append(trainer.get_model().state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_mean_of_weights_that_a_checkpoint_lacks_starts_from_its_weights(tmp_path):
    trainer = trainer_of(tmp_path)
    path = save(trainer, tmp_path / "checkpoint.pt")
    other = trainer_of(tmp_path / "other", "ema.store_ema=true", "common.seed=7")
    other.load_checkpoint(path)
    weights = trainer.get_model().state_dict()
    for name, weight in other.ema.get_model().state_dict().items():
        torch.testing.assert_close(weight, weights[name], msg=name)


def test_the_seed_of_a_batch_is_its_own():
    from summarymixing_fairseq.training.watch.noise import batch_seeds

    drawn = [seed for update in (1, 2, 2**64 - 1, -1) for seed in itertools.islice(batch_seeds(update), 50)]
    assert len(set(drawn[:150])) == 150
    for seed in drawn:
        torch.manual_seed(seed)
