"""Audio that is cropped under a transcript that stays whole."""

from __future__ import annotations

import pytest
from small_tasks import task_on, write_split

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.watch.health import signs_of_ill_health

LENGTHS = [16_000, 30_000, 40_000]


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path, "train", LENGTHS, ["A B |"] * 3)
    return tmp_path


def test_a_transcribed_clip_is_not_cropped(folder):
    with pytest.raises(InputError, match=r"max_sample_size=20000 would crop 2 of 3 clips of .*, 1_train\.wav first"):
        task_on(folder, max_sample_size=20_000).load_dataset("train")


def test_no_split_is_read_in_another_way(folder):
    with pytest.raises(InputError, match=r"task\.multi_corpus_keys: give manifests of audio"):
        task_on(folder, multi_corpus_keys="a,b").load_dataset("a:train,b:train")


def test_a_limit_that_crops_nothing_is_accepted(folder):
    task = task_on(folder, max_sample_size=40_000)
    task.load_dataset("train")
    assert list(task.dataset("train").sizes) == LENGTHS


@pytest.mark.parametrize(("name", "crops"), [("speech_pretraining", True), ("speech_finetuning", False)])
def test_cropping_is_advised_where_there_are_no_transcripts(name, crops, folder):
    task = task_on(folder, name)
    task.load_dataset("train")
    with pytest.raises(InputError, match=r"max_tokens=20000 .*--max-seconds") as error:
        task.get_batch_iterator(task.dataset("train"), max_tokens=20_000)
    assert ("max_sample_size" in str(error.value)) is crops
    (warning,) = signs_of_ill_health({"padding": 0.9}, 0.02, task.may_crop).values()
    assert ("max_sample_size" in warning) is crops


def test_pretraining_and_classes_crop_as_before(folder):
    for name in ("speech_pretraining", "probe_classification"):
        (folder / "train.emotion").write_text("sad\n" * 3)
        (folder / "dict.emotion.txt").write_text("sad 1\n")
        labels = {} if name == "speech_pretraining" else {"labels": "emotion"}
        assert task_on(folder, name, max_sample_size=20_000, **labels).may_crop
