"""Checkpoints are whole or not there: saving, second names, disk errors, a second run, what a kill left behind."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from zygote import FILE_SIZE_LIMIT, Forked

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches import background, checkpoints


@pytest.fixture
def small_files():
    """No file may grow beyond 100 kB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_fairseq_saves_and_reads_by_our_functions():
    assert checkpoint_utils.torch_persistent_save is background.save_whole
    assert checkpoint_utils.load_checkpoint_to_cpu is checkpoints.load_checkpoint_to_cpu
    assert checkpoint_utils.verify_checkpoint_directory is checkpoints.prepare_folder
    assert PathManager.copy is background.second_name


def test_save_and_second_name(tmp_path):
    first, second = str(tmp_path / "checkpoint_1_5.pt"), str(tmp_path / "checkpoint_last.pt")
    checkpoints.save_whole({"model": torch.arange(4)}, first)
    assert PathManager.copy(first, second, overwrite=True) is True
    assert os.stat(first).st_ino == os.stat(second).st_ino
    # the next save gives the first name to another file: the second keeps what it had
    checkpoints.save_whole({"model": torch.arange(9)}, first)
    assert len(torch.load(second, weights_only=True)["model"]) == 4
    assert PathManager.copy(first, second, overwrite=True)
    assert len(torch.load(second, weights_only=True)["model"]) == 9
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_1_5.pt", "checkpoint_last.pt"]


def test_second_name_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.pt").write_bytes(b"whole")
    (tmp_path / "b.pt").write_bytes(b"before")
    assert PathManager.copy(str(tmp_path / "a.pt"), str(tmp_path / "b.pt"), overwrite=True)
    assert (tmp_path / "b.pt").read_bytes() == b"whole" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("numbers", [[200_000], [2_000] * 100])
def test_a_full_disk_leaves_the_earlier_checkpoint(numbers, tmp_path, monkeypatch, small_files):
    path = tmp_path / "checkpoint_last.pt"
    checkpoints.save_whole({"model": torch.arange(4)}, str(path))
    before, writes = path.read_bytes(), []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *given, **options: writes.append(1) or save(*given, **options))
    with pytest.raises(
        InputError, match=r"checkpoint .*/checkpoint_last\.pt cannot be written: File too large"
    ) as error:
        checkpoints.save_whole({"model": [torch.zeros(n) for n in numbers]}, str(path))
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["checkpoint_last.pt"]
    assert len(writes) == 1  # fairseq would try three times, into the same file


def test_a_full_disk_at_the_second_name(tmp_path, monkeypatch, small_files):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no")))
    source, target = tmp_path / "checkpoint_1_5.pt", tmp_path / "checkpoint_last.pt"
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    source.write_bytes(bytes(200_000))
    target.write_bytes(b"before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))
    with pytest.raises(InputError, match=r"checkpoint_last\.pt cannot be written: File too large; .*_1_5\.pt is whole"):
        PathManager.copy(str(source), str(target), overwrite=True)
    assert target.read_bytes() == b"before" and len(os.listdir(tmp_path)) == 2


def test_an_error_of_the_state_is_not_called_one_of_the_disk(tmp_path):
    with pytest.raises((AttributeError, TypeError, RuntimeError)) as error:
        checkpoints.save_whole({"model": lambda: None}, str(tmp_path / "x.pt"))
    assert not isinstance(error.value, InputError) and not os.listdir(tmp_path)


HOLD = """
import sys, time
from summarymixing_fairseq.training.patches.checkpoints import prepare_folder
prepare_folder(sys.argv[1])
pid = __import__("os").fork()
pid and print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_in_the_folder_is_refused_until_the_first_is_gone(zygote, tmp_path):
    folder = tmp_path / "run"
    first = Forked(zygote, ["python", "-c", HOLD, folder], {})
    try:
        first.wait_for("held")
        (folder / "checkpoint_last.pt.tmp").write_bytes(b"of the first run")
        with pytest.raises(InputError, match=r"another training is writing to .*/run: wait for it, end it"):
            checkpoints.prepare_folder(str(folder))
        assert (folder / "checkpoint_last.pt.tmp").exists()
        # a kill frees it at once, though what the process had forked (as data workers are) lives on
        first.kill()
        first.wait()
        checkpoints.prepare_folder(str(folder))
        assert not (folder / "checkpoint_last.pt.tmp").exists()
        checkpoints.prepare_folder(str(folder))
    finally:
        os.killpg(first.pid, signal.SIGKILL)


def test_what_is_no_checkpoint_stays(tmp_path):
    for name in ("checkpoint_last.pt", "notes.tmp", "crash.pt.tmp"):
        (tmp_path / name).write_bytes(b"x")
    checkpoints.prepare_folder(str(tmp_path))
    assert {path.name for path in Path(tmp_path).glob("[!.]*")} == {"checkpoint_last.pt", "notes.tmp"}


@pytest.mark.parametrize(("updates", "options"), [(4, []), (3, ["+task.background_checkpoints=true"])])
def test_a_training_whose_disk_fills_up(zygote, arguments, tmp_path, updates, options):
    """It ends with the reason, and leaves what it had saved before: the run goes on once there is room.

    The second case has a single save, at the end of the run, in the background.
    """
    run, log = tmp_path / "run", tmp_path / "log"
    zygote.run(arguments(run, 2), log)
    before = {path.name: path.read_bytes() for path in run.glob("*.pt")}
    limit = min(map(len, before.values())) - 10_000
    full = tmp_path / "full"
    assert zygote.wait(zygote.start(arguments(run, updates, *options), full, {FILE_SIZE_LIMIT: str(limit)})) == 1
    assert "cannot be written: File too large; earlier ones are as they were" in full.read_text()
    assert {path.name: path.read_bytes() for path in run.glob("*.pt")} == before
    assert not list(run.glob("*.tmp"))
    zygote.run(arguments(run, updates, *options), log)
    last = torch.load(run / "checkpoint_last.pt", weights_only=True)
    assert last["optimizer_history"][-1]["num_updates"] == updates
