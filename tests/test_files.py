"""Outputs appear whole or not at all."""

from __future__ import annotations

import hashlib
import os

import pytest

from summarymixing_fairseq.errors import InputError
from summarymixing_fairseq.files import atomic_write, refuse_existing, sha256_of


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


def test_another_files_error_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out"):
        open(tmp_path / "missing input")  # noqa: SIM115


def test_refuse_existing(tmp_path):
    (tmp_path / "b").touch()
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InputError, match=r"b is there already: .* --force"):
        refuse_existing(paths, force=False)
    refuse_existing(paths, force=True)
    refuse_existing(paths[:1], force=False)


def test_sha256(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(bytes(range(256)) * 5000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="nowhere.pt cannot be read"):
        sha256_of(tmp_path / "nowhere.pt")
