"""Cached hidden states in place of waveforms, under what fairseq and we wrap around audio."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data import AddTargetDataset, Dictionary
from fairseq.tasks.audio_finetuning import LabelEncoder, label_len_fn
from torch.utils.data import DataLoader

from summarymixing_fairseq.data.bad_clips import BadClips
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.data.waveform import SpeechDataset
from summarymixing_fairseq.probing.kept_features.cache import StateCache
from summarymixing_fairseq.probing.kept_features.dataset import CachedStatesDataset

S, D, HOP = 2, 3, 320


def encode(source, padding_mask):
    frames = source.unfold(1, HOP, HOP)  # (B, N) -> (B, T, HOP)
    return torch.stack([frames[..., s : s + D] for s in range(S)], 1), ((~padding_mask).sum(1) // HOP).tolist()


@pytest.fixture
def manifest(tmp_path, speech):
    """Four clips; the last row is a part of the first file."""
    rows = []
    for number, wave in enumerate(speech):
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000, subtype="FLOAT")
        rows.append(f"{number}.wav\t{len(wave)}\n")
    rows.append("0.wav\t9000\t4000\n")
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(rows))
    return Manifest(tmp_path / "train.tsv")


@pytest.fixture
def audio(manifest):
    return SegmentDataset(manifest, 16_000, pad=True)


@pytest.fixture
def build(audio, tmp_path):
    """The dataset over a cache filled just now."""

    def fill() -> CachedStatesDataset:
        cache = StateCache(tmp_path / "cache", "key", len(audio), S, D)
        cache.fill(lambda i: audio[i]["source"].numpy(), encode, audio.sizes, 100_000, "train", names=audio.fnames)
        return CachedStatesDataset(audio, cache)

    return fill


def test_items_are_the_states_of_their_audio(build, audio):
    built = build()
    for dataset, index in itertools.product((built, pickle.loads(pickle.dumps(built))), range(5)):
        source = audio[index]["source"][None]
        expected, _ = encode(source, torch.zeros_like(source, dtype=torch.bool))
        item = dataset[index]
        assert item.keys() == {"id", "states"} and item["id"] == index
        torch.testing.assert_close(item["states"], expected[0], rtol=0, atol=0)


def test_padding(build):
    dataset = build()
    batch = dataset.collater([dataset[index] for index in (3, 0, 4)])
    states, padding_mask = batch["net_input"]["states"], batch["net_input"]["padding_mask"]
    num_frames = [dataset.sizes[index] // HOP for index in (3, 0, 4)]
    assert batch["id"].tolist() == [3, 0, 4] and batch.keys() == {"id", "num_samples", "net_input"}
    assert batch["num_samples"] == dataset.sizes[[3, 0, 4]].tolist()
    assert states.shape == (3, S, max(num_frames), D) and states.dtype == torch.float32
    assert padding_mask.shape == (3, max(num_frames)) and padding_mask.dtype == torch.bool
    for row, (index, length) in enumerate(zip((3, 0, 4), num_frames)):
        torch.testing.assert_close(states[row, :, :length], dataset[index]["states"], rtol=0, atol=0)
        assert not states[row, :, length:].any()
        assert not padding_mask[row, :length].any() and padding_mask[row, length:].all()
    alone = dataset.collater([dataset[1], dataset[1]])["net_input"]
    assert alone["padding_mask"] is None and alone["states"].shape[0] == 2
    assert dataset.collater([]) == {}


def test_batches_are_those_of_the_audio(build, audio):
    cached, plain = SpeechDataset(build()), SpeechDataset(audio)
    np.testing.assert_array_equal(cached.sizes, audio.sizes)
    assert list(cached.fnames) == list(audio.fnames) and cached.skipped_indices == set()
    orders = []
    for dataset in (cached, plain):
        np.random.seed(2)
        order = dataset.ordered_indices()
        orders.append([b.tolist() for b in dataset.batch_by_size(order, max_tokens=70_000)])
        assert [dataset.num_tokens(i) for i in range(5)] == audio.sizes.tolist()
    assert orders[0] == orders[1] and len(orders[0]) > 1


def test_with_labels_workers_and_a_stand_in(build, tmp_path):
    letters = Dictionary()
    for letter in "ABCDE":
        letters.add_symbol(letter)
    (tmp_path / "1.wav").write_bytes(b"no audio")
    labelled = AddTargetDataset(
        build(), [b"A", b"B", b"C", b"D", b"E"], letters.pad(), letters.eos(), True, LabelEncoder(letters), label_len_fn
    )
    dataset = SpeechDataset(labelled, in_float64=True, bad_clips=BadClips("train", 5, 0.5))
    (batch,) = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=dataset.collater)
    stand_in = batch["id"][1].item()
    assert stand_in != 1 and "1.wav cannot be read" in dataset.bad_clips.reasons()[1]
    assert [letters[target] for target in batch["target"][:, 0]] == ["ABCDE"[i] for i in batch["id"]]
    assert batch["net_input"].keys() == {"states", "padding_mask"}
    assert batch["net_input"]["states"].dtype == torch.float32
    torch.testing.assert_close(batch["net_input"]["states"][1], batch["net_input"]["states"][stand_in])
