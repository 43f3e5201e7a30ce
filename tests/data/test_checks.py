"""Checks before a run: each problem named in one line."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fairseq.data import Dictionary

from summarymixing_fairseq.data.checks import check_batch_limit, check_labels, check_manifest
from summarymixing_fairseq.errors import InputError


@pytest.fixture
def data(tmp_path):
    """A folder of a manifest of two clips, the first there, and their labels."""
    (tmp_path / "a.wav").touch()
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.wav\t16000\nb.wav\t32000\n")
    (tmp_path / "train.ltr").write_text("A B |\nB |\n")
    return tmp_path


@pytest.fixture
def dictionary():
    letters = Dictionary()
    for symbol in "AB|":
        letters.add_symbol(symbol)
    return letters


def test_number_of_rows(data):
    assert check_manifest(str(data), "train") == 2


@pytest.mark.parametrize("first", ["clips.zip:17:400", "a:b.wav"])
def test_first_clip_in_a_stored_zip_or_with_a_colon(data, first):
    (data / "clips.zip").touch()
    (data / "a:b.wav").touch()
    (data / "train.tsv").write_text(f"{data}\n{first}\t16000\n")
    assert check_manifest(str(data), "train") == 1


def test_moved_audio(data):
    (data / "a.wav").unlink()
    with pytest.raises(InputError, match=r"train\.tsv: first clip .*a\.wav does not exist; has the audio moved\?"):
        check_manifest(str(data), "train")


@pytest.mark.parametrize("text", ["", "/data\n"])
def test_empty_manifest(data, text):
    (data / "train.tsv").write_text(text)
    with pytest.raises(InputError, match=r"train\.tsv has no row"):
        check_manifest(str(data), "train")


def test_missing_split(data):
    with pytest.raises(InputError, match=r"valid\.tsv cannot be read"):
        check_manifest(str(data), "valid")


def test_good_labels(data, dictionary):
    check_labels(str(data), "train", "ltr", dictionary)
    check_labels(str(data), "train", "ltr", None)


def test_bad_labels(data, dictionary):
    with pytest.raises(InputError, match=r"task\.labels is not set: .*ltr"):
        check_labels(str(data), "train", None, dictionary)
    with pytest.raises(InputError, match=r"train\.phn cannot be read"):
        check_labels(str(data), "train", "phn", dictionary)
    (data / "train.ltr").write_text("A |\nB Ç |\n")
    with pytest.raises(InputError, match=r"train\.ltr, line 2: 'Ç' is not in dict\.ltr\.txt"):
        check_labels(str(data), "train", "ltr", dictionary)
    (data / "train.ltr").write_text("A |\n")
    with pytest.raises(InputError, match=r"train\.ltr has 1 lines, its manifest 2 rows"):
        check_labels(str(data), "train", "ltr", dictionary)


def test_batch_limit():
    dataset = SimpleNamespace(sizes=np.array([16_000, 48_000]))
    check_batch_limit(dataset, 48_000)
    check_batch_limit(dataset, None)
    check_batch_limit(SimpleNamespace(), 10)
    with pytest.raises(InputError, match=r"dataset\.max_tokens=47999 .* longest clip \(48000 samples, 3\.0 s\)"):
        check_batch_limit(dataset, 47_999)
