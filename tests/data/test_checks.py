"""Checks before a training: one line for each problem."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from encoder_checkpoints import letters

from summarymixing_fairseq.data.checks import check_batch_limit, check_first_clip, check_labels
from summarymixing_fairseq.data.manifest import Manifest, check_splits
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def data(tmp_path):
    """A folder with a manifest of two clips, of which the first exists, and their labels."""
    (tmp_path / "a.wav").touch()
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.wav\t16000\nb.wav\t32000\n")
    (tmp_path / "train.ltr").write_text("A B |\nB |\n")
    return tmp_path


@pytest.fixture
def dictionary():
    return letters("AB|")


@pytest.mark.parametrize("first", ["clips.zip:17:400", "a:b.wav"])
def test_first_clip_in_a_stored_zip_or_with_a_colon(data, first):
    (data / "clips.zip").touch()
    (data / "a:b.wav").touch()
    (data / "train.tsv").write_text(f"{data}\n{first}\t16000\n")
    check_first_clip(Manifest(data / "train.tsv"))


def test_moved_audio(data):
    (data / "a.wav").unlink()
    with pytest.raises(InputError, match=r"train\.tsv: first clip .*a\.wav does not exist; has the audio moved\?"):
        check_first_clip(Manifest(data / "train.tsv"))


def test_good_labels(data, dictionary):
    check_labels(str(data), "train", "ltr", dictionary, 2)
    check_labels(str(data), "train", "ltr", None, 2)


def test_a_mark_before_the_labels(data, dictionary):
    path = data / "train.ltr"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(InputError, match=r"train\.ltr begins with a byte-order mark"):
        check_labels(str(data), "train", "ltr", dictionary, 2)


@pytest.mark.parametrize(
    "extension, content, message",
    [
        (None, None, r"task\.labels is not set: .*ltr"),
        ("phn", None, r"train\.phn cannot be read"),
        ("ltr", "A |\nB Ç |\n", r"train\.ltr, line 2: 'Ç' is not in dict\.ltr\.txt"),
        ("ltr", "A |\n", r"train\.ltr has 1 lines, its manifest 2 rows"),
        ("ltr", "A" * 5_000 + "\nA |\n", r"is not in dict\.ltr\.txt"),
    ],
)
def test_bad_labels(data, dictionary, extension, content, message):
    if content is not None:
        (data / "train.ltr").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        check_labels(str(data), "train", extension, dictionary, 2)
    assert len(str(error.value)) < 400


def test_an_unknown_symbol_outside_of_training_is_only_warned_of(data, dictionary, caplog):
    (data / "test.ltr").write_text("A Ç |\nÇ Ñ |\n")
    check_labels(str(data), "test", "ltr", dictionary, 2)
    assert "2 symbols are not in dict.ltr.txt and always count as errors, first 'Ç' in line 1" in caplog.text


def test_splits_are_known_by_their_names():
    check_splits("train_5min", "valid,dev")
    with pytest.raises(InputError, match=r"dataset\.train_subset=labelled: .* train_labelled\.tsv say"):
        check_splits("labelled", "valid")
    with pytest.raises(InputError, match=r"dataset\.valid_subset=valid,train_dev names a training split"):
        check_splits("train", "valid,train_dev")


def test_batch_limit():
    dataset = SimpleNamespace(sizes=np.array([16_000, 48_000]))
    check_batch_limit(dataset, 48_000)
    check_batch_limit(dataset, None)
    check_batch_limit(SimpleNamespace(), 10)
    with pytest.raises(InputError, match=r"dataset\.max_tokens=47999 .* longest clip \(48000 samples, 3\.0 s\)"):
        check_batch_limit(dataset, 47_999)
