"""Manifests and label files: what is read, and the one line said of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from summarymixing_fairseq.data.manifest import Clip, iterate_rows, read_labels, read_manifest
from summarymixing_fairseq.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows(tmp_path, newline):
    path = write(tmp_path / "train.tsv", newline.join(["/data", "a/b c.flac\t16000", "ü.wav\t7", ""]))
    assert list(iterate_rows(path)) == [("/data", -1), ("a/b c.flac", 16_000), ("ü.wav", 7)]
    assert read_manifest(path) == [
        Clip(Path("/data/a/b c.flac"), "a/b c.flac", 16_000),
        Clip(Path("/data/ü.wav"), "ü.wav", 7),
    ]


def test_last_line_without_an_end(tmp_path):
    assert read_manifest(write(tmp_path / "t.tsv", "/data\na.wav\t5")) == [Clip(Path("/data/a.wav"), "a.wav", 5)]


@pytest.mark.parametrize("row", ["a.wav", "a.wav 5", "a.wav\t", "a.wav\t1.5", "a.wav\t-5", "\t5", "a.wav\t5\t6", ""])
def test_malformed_rows(tmp_path, row):
    path = write(tmp_path / "t.tsv", f"/data\nok.wav\t5\n{row}\n")
    with pytest.raises(InputError, match=r"t\.tsv, line 3: .* is not path, tab, number of samples") as error:
        read_manifest(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "/data\n"])
def test_no_row(tmp_path, text):
    with pytest.raises(InputError, match=r"manifest .*t\.tsv has no row"):
        read_manifest(write(tmp_path / "t.tsv", text))


def test_missing_manifest(tmp_path):
    with pytest.raises(
        InputError, match=r"none\.tsv cannot be read \(No such file.*\): make it with python manifests/"
    ):
        read_manifest(tmp_path / "none.tsv")


def test_manifest_that_is_no_text(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"RIFF\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"t\.tsv is not UTF-8 text"):
        read_manifest(tmp_path / "t.tsv")


def test_labels(tmp_path):
    path = write(tmp_path / "train.ltr", "A B |\n\nÜ |\n")
    assert read_labels(path, 3) == ["A B |", "", "Ü |"]
    assert read_labels(write(tmp_path / "one.ltr", "A |"), 1) == ["A |"]
    assert read_labels(write(tmp_path / "empty.ltr", ""), 0) == []


@pytest.mark.parametrize("num_clips", [2, 4])
def test_labels_that_do_not_match(tmp_path, num_clips):
    path = write(tmp_path / "train.ltr", "A\nB\nC\n")
    with pytest.raises(InputError, match=rf"train\.ltr has 3 lines, its manifest {num_clips} rows"):
        read_labels(path, num_clips)


def test_labels_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.ltr cannot be read: No such file"):
        read_labels(tmp_path / "none.ltr", 1)
    (tmp_path / "t.ltr").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match=r"t\.ltr are not UTF-8"):
        read_labels(tmp_path / "t.ltr", 1)
