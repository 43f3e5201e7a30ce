"""``SpeechDataset``: float64, lengths as trained, every clip in some batch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from encoder_checkpoints import letters
from fairseq.data import AddTargetDataset
from fairseq.tasks.audio_finetuning import LabelEncoder, label_len_fn

from summarymixing_fairseq.data.bad_clips import BadClips
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.data.waveform import SpeechDataset
from summarymixing_fairseq.system.errors import InputError

LONGEST = 30_000


def no_bad_clips(audio: SegmentDataset) -> BadClips:
    return BadClips("train", len(audio), 0)


@pytest.fixture
def dataset(clips) -> SpeechDataset:
    """Clips cropped to 30,000 samples; all but the last are longer."""
    audio = SegmentDataset(Manifest(clips / "train.tsv"), 16_000, max_sample_size=LONGEST, pad=True)
    return SpeechDataset(audio, no_bad_clips(audio))


@pytest.fixture
def labelled(clips) -> SpeechDataset:
    dictionary = letters()
    audio = SegmentDataset(Manifest(clips / "train.tsv"), 16_000, max_sample_size=LONGEST, pad=True)
    encode = LabelEncoder(dictionary)
    targets = AddTargetDataset(audio, [b"A A"] * 4, dictionary.pad(), dictionary.eos(), True, encode, label_len_fn)
    return SpeechDataset(targets, no_bad_clips(audio))


def test_float64_that_the_trainer_leaves_alone(dataset, speech):
    batch = dataset.collater([dataset[3]])
    source = batch["net_input"]["source"]
    assert source.dtype == torch.float64 and source.shape == (1, len(speech[3]))
    assert np.abs(source[0].numpy() - speech[3]).max() < 1e-4


def test_an_empty_batch_stays_empty(dataset):
    assert dataset.collater([]) == {}


def test_lengths_as_trained(dataset, clips, speech):
    expected = [min(len(wave), LONGEST) for wave in speech]
    assert len({*expected}) == 2
    assert dataset.sizes.tolist() == expected
    audio = SegmentDataset(Manifest(clips / "train.tsv"), 16_000, pad=True)
    without_limit = SpeechDataset(audio, no_bad_clips(audio))
    assert without_limit.sizes.tolist() == [len(wave) for wave in speech]
    assert [dataset.size(i) for i in range(4)] == expected
    assert [dataset.num_tokens(i) for i in range(4)] == expected
    assert dataset.num_tokens_vec(np.array([3, 0])).tolist() == [expected[3], expected[0]]
    for i in range(4):
        assert dataset.collater([dataset[i]])["net_input"]["source"].size(1) == expected[i]


def test_batches_hold_every_clip_once_within_the_limit(dataset):
    batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=2 * LONGEST, required_batch_size_multiple=1)
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3]
    for batch in batches:
        assert len(batch) * max(dataset.num_tokens(i) for i in batch) <= 2 * LONGEST


def test_passes_on_what_fairseq_asks_its_audio_datasets(dataset):
    assert len(dataset) == 4 and len(dataset.fnames) == 4
    assert dataset.skipped_indices == set()
    with pytest.raises(AttributeError):
        dataset.no_such_thing  # noqa: B018


def test_worker_processes_can_have_it(dataset):
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert torch.equal(twin[3]["source"], dataset[3]["source"])


def test_with_labels(labelled):
    batch = labelled.collater([labelled[3]])
    assert batch["net_input"]["source"].dtype == torch.float64
    assert batch["target"].shape == (1, 2)
    assert labelled.size(3)[1] == 2
    assert labelled.collater([labelled[0]])["net_input"]["source"].size(1) == LONGEST
    assert labelled.num_tokens(0) == LONGEST


def test_task_loads_it_and_names_a_limit_that_is_too_small(clips, load_task):
    task = load_task(clips, max_sample_size=LONGEST)
    assert isinstance(task.dataset("train"), SpeechDataset)
    with pytest.raises(InputError, match=rf"dataset\.max_tokens=29999 .* longest clip \({LONGEST} samples, 1\.9 s\)"):
        task.get_batch_iterator(task.dataset("train"), max_tokens=29_999)
    iterator = task.get_batch_iterator(
        task.dataset("train"), max_tokens=2 * LONGEST, required_batch_size_multiple=1, num_workers=0
    )
    assert sum(len(batch["id"]) for batch in iterator.next_epoch_itr(shuffle=False)) == 4
    with pytest.raises(InputError, match=r"valid\.tsv cannot be read"):
        task.load_dataset("valid")


def test_fine_tuning_task_checks_the_labels(clips, load_task):
    (clips / "dict.ltr.txt").write_text("A 4\n| 4\n")
    (clips / "train.ltr").write_text("A |\nA A |\nA |\nA |\n")
    task = load_task(clips, "speech_finetuning", labels="ltr", bf16=True)
    dataset = task.dataset("train")
    assert isinstance(dataset, SpeechDataset)
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["net_input"]["source"].dtype == torch.float64
    assert batch["target_lengths"].tolist() == [2, 3]
    with pytest.raises(InputError, match=r"dataset\.max_tokens=100 "):
        task.get_batch_iterator(dataset, max_tokens=100)
    (clips / "train.ltr").write_text("A |\nX |\nA |\nA |\n")
    with pytest.raises(InputError, match=r"train\.ltr, line 2: 'X' is not in dict\.ltr\.txt"):
        task.load_dataset("train")
