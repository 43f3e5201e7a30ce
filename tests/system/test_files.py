"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys

import pytest

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import (
    LOCK_NAME,
    atomic_write,
    exclusive,
    hold_lock,
    refuse_existing,
    sha256_of,
    write_together,
)


@pytest.mark.parametrize("mode, content", [("w", "ü\n"), ("wb", b"\x00\xff")])
def test_writes_and_replaces(tmp_path, mode, content):
    path = tmp_path / "new" / "out"
    for _ in range(2):
        with atomic_write(path, mode) as file:
            file.write(content)
    assert path.read_bytes() == (content.encode() if mode == "w" else content)
    assert os.listdir(path.parent) == ["out"]


def test_not_there_before_the_end(tmp_path):
    with atomic_write(tmp_path / "out") as file:
        file.write("x")
        assert not (tmp_path / "out").exists()


def test_keeps_the_old_file_if_the_block_fails(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "out") as file:
        file.write("new")
        raise KeyError
    assert (tmp_path / "out").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "out") as file:
        file.write("x")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out", tmp_path):
        with pytest.raises(InputError, match=r"cannot be written: "), atomic_write(path) as file:
            file.write("x")
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    """Only files named as ours, and only where no process is writing them."""
    code = (
        "import pathlib, os, signal, sys; from summarymixing_fairseq.system.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write('half'); file.flush(); print(flush=True); input(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    names = ("killed.npy", "alive.npy")
    writers = {
        name: subprocess.Popen([sys.executable, "-c", code, tmp_path / name], stdin=-1, stdout=-1) for name in names
    }
    try:
        for writer in writers.values():
            writer.stdout.readline()
        writers["killed.npy"].communicate(b"\n")
        foreign = [".x.tmp", ".x.0123456789abcde.tmp", "x.0123456789abcdef.tmp", ".x.0123456789abcdef.tmp.npy"]
        for name in foreign:
            (tmp_path / name).touch()
        (tmp_path / ".x.0123456789abcdef.tmp").symlink_to(tmp_path / ".x.tmp")
        assert len([name for name in os.listdir(tmp_path) if name.startswith((".killed", ".alive"))]) == 2
        with atomic_write(tmp_path / "out"):
            pass
        (alive,) = (name for name in os.listdir(tmp_path) if name.startswith((".killed", ".alive")))
        assert alive.startswith(".alive.npy")
        assert {*os.listdir(tmp_path)} == {*foreign, ".x.0123456789abcdef.tmp", alive, "out"}
    finally:
        for writer in writers.values():
            writer.kill()
            writer.communicate()


def test_another_files_error_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out"):
        open(tmp_path / "missing input")  # noqa: SIM115


def test_refuse_existing(tmp_path):
    (tmp_path / "b").touch()
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InputError, match=r"b is there already: .* --force"):
        refuse_existing(paths, force=False)
    refuse_existing(paths, force=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a pipe or a device: name a file"):
        refuse_existing([tmp_path / "pipe"], force=True)
    refuse_existing(paths[:1], force=False)


def test_sha256(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(bytes(range(256)) * 5000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="nowhere.pt cannot be read"):
        sha256_of(tmp_path / "nowhere.pt")


def test_files_that_belong_together(tmp_path):
    (tmp_path / "old").touch()
    files = {tmp_path / "a": "one\n", tmp_path / "b": b"two", tmp_path / "done": "three"}
    for _ in range(2):
        write_together(files, absent=[tmp_path / "old"])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "one\n", "b": "two", "done": "three"}


def test_a_folder_is_locked_against_others_and_left_as_it_was(tmp_path):
    folder = tmp_path / "results"
    with exclusive(folder, "another training"):
        with pytest.raises(InputError, match=r"another training is writing to .*results: wait for it, .*fuser"):
            hold_lock(folder, "another training")
        assert os.listdir(folder) == [LOCK_NAME]
    assert not folder.exists()  # nothing was written to it
    with exclusive(folder):
        pass


@pytest.mark.parametrize("make", [lambda path: path.write_text("pid 1"), lambda path: path.symlink_to("elsewhere")])
def test_a_lock_of_another_program_stays(tmp_path, make):
    path = tmp_path / LOCK_NAME
    make(path)
    with exclusive(tmp_path), pytest.raises(InputError, match="another run is writing"), exclusive(tmp_path):
        pass
    assert os.path.lexists(path) and (path.is_symlink() or path.read_text() == "pid 1")


def test_a_lock_whose_file_was_removed_by_its_holder_is_none(tmp_path):
    path = tmp_path / LOCK_NAME
    with open(path, "w") as opened_before:
        path.unlink()
        fcntl.flock(opened_before, fcntl.LOCK_EX)
        with exclusive(tmp_path):
            assert path.exists()


def test_a_killed_process_lets_go_of_its_lock(tmp_path):
    code = (
        "import pathlib, time; from summarymixing_fairseq.system.files import hold_lock\n"
        f"hold_lock(pathlib.Path({str(tmp_path)!r})); hold_lock(pathlib.Path({str(tmp_path)!r}))\n"
        "import os; worker = os.fork()\n"
        f"if not worker: hold_lock(pathlib.Path({str(tmp_path)!r}))\n"
        "if not worker: print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        worker = int(holder.stdout.readline())
        with pytest.raises(InputError, match="another run is writing to"), exclusive(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    try:
        with exclusive(tmp_path):  # its worker, which lives on for a while, does not keep others out
            os.kill(worker, 0)
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.communicate()


def test_a_file_system_without_locks_is_gone_on_with(tmp_path, monkeypatch):
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with exclusive(tmp_path) as first, exclusive(tmp_path) as second:
        assert first is None and second is None
    hold_lock(tmp_path)


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/results cannot be written"), exclusive(tmp_path / "file" / "results"):
        pass
