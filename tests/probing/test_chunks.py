"""Random chunks: the right samples, every position alike, another one in every epoch, and in data workers too."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data import AddTargetDataset, SubsampleDataset
from fairseq.tasks import setup_task
from omegaconf import OmegaConf

from summarymixing_fairseq.data.bad_clips import BadClips
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.waveform import SpeechDataset
from summarymixing_fairseq.probing import chunks
from summarymixing_fairseq.probing.chunks import ChunkDataset
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.tasks.speech_pretraining import SpeechPretrainingConfig

CHUNK = 3200  # 0.2 s


def ramp(num_samples: int) -> np.ndarray:
    """Sample i is i / 2^16: where a chunk begins can be heard."""
    return (np.arange(num_samples) / 2**16).astype(np.float32)


def start_of(chunk) -> int:
    start = round(float(chunk[0]) * 2**16)
    np.testing.assert_array_equal(chunk, ramp(start + len(chunk))[start:])
    return start


def write(folder, rows) -> Manifest:
    (folder / "train.tsv").write_text(f"{folder}\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return Manifest(folder / "train.tsv")


@pytest.fixture
def manifest(tmp_path):
    """A long file, a part of it, one barely longer than a chunk, one as long, one shorter."""
    for name, num_samples in (("long", 16_000), ("barely", CHUNK + 1), ("equal", CHUNK), ("short", 1000)):
        soundfile.write(tmp_path / f"{name}.wav", ramp(num_samples), 16_000, subtype="FLOAT")
    rows = [("long.wav", 16_000), ("long.wav", 8000, 5000), ("barely.wav", CHUNK + 1)]
    return write(tmp_path, [*rows, ("equal.wav", CHUNK), ("short.wav", 1000)])


def dataset(manifest, seed=1, **others) -> ChunkDataset:
    return ChunkDataset(manifest, 16_000, chunk_seconds=0.2, seed=seed, pad=True, **others)


def test_lengths(manifest):
    chunked = dataset(manifest)
    assert chunked.sizes.tolist() == [CHUNK] * 4 + [1000]
    assert [len(chunked[i]["source"]) for i in range(5)] == chunked.sizes.tolist()
    assert [chunked[i]["id"] for i in range(5)] == list(range(5))
    batch = chunked.collater([chunked[0], chunked[4]])
    assert batch["net_input"]["source"].shape == (2, CHUNK) and batch["net_input"]["padding_mask"].sum() == CHUNK - 1000


def test_every_position_alike_and_none_beyond_the_end(manifest):
    chunked = dataset(manifest)
    for index, first, last in ((0, 0, 16_000 - CHUNK), (1, 5000, 13_000 - CHUNK), (2, 0, 1), (3, 0, 0), (4, 0, 0)):
        starts = []
        for epoch in range(1, 401):
            chunked.set_epoch(epoch)
            starts.append(start_of(chunked[index]["source"].numpy()))
        assert min(starts) >= first and max(starts) <= last
        if last - first > 1:
            quarters, _ = np.histogram(starts, 4, (first, last))
            assert np.abs(quarters - 100).max() < 35  # 4 standard deviations
            assert len(set(starts)) > 350
        else:
            assert {*starts} == {*range(first, last + 1)}
    chunked.chunk_samples = 15_997
    starts = []
    for epoch in range(1, 201):
        chunked.set_epoch(epoch)
        starts.append(chunked.chunk_start(0))
    assert set(starts) == {0, 1, 2, 3}


def test_the_same_by_seed_epoch_and_clip(manifest):
    def starts(seed, epoch):
        chunked = dataset(manifest, seed)
        chunked.set_epoch(epoch)
        np.random.seed(epoch)  # plays no part
        return [chunked.chunk_start(index) for index in (0, 1)]

    assert starts(1, 2) == starts(1, 2)
    assert len({tuple(starts(seed, epoch)) for seed in (-1, 1, 2) for epoch in (1, 2, 3)}) == 9
    twice = dataset(write(Path(manifest.root), [("long.wav", 16_000)] * 2))
    assert twice.chunk_start(0) != twice.chunk_start(1)


def test_no_more_than_the_chunk_is_read(manifest, monkeypatch):
    asked = []

    def read(path, offset=0, num_samples=None, **rate):
        asked.append((offset, num_samples))
        return np.zeros(num_samples, np.float32)

    monkeypatch.setattr(chunks, "read_segment", read)
    chunked = dataset(manifest)
    chunked[0], chunked[1]
    assert asked == [(chunked.chunk_start(0), CHUNK), (5000 + chunked.chunk_start(1), CHUNK)]


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_other_rates(tmp_path, speech, rate):
    """A chunk, the last possible one included, is what the whole file resampled has there."""
    num_samples = -(-len(speech[3]) * 16_000 // rate)
    soundfile.write(tmp_path / "clip.wav", speech[3], rate, subtype="FLOAT")
    chunked = dataset(write(tmp_path, [("clip.wav", num_samples)]))
    chunked.chunk_start = lambda index: start
    whole = ChunkDataset(chunked.manifest, 16_000, chunk_seconds=1000, pad=True)[0]["source"]
    assert len(whole) == num_samples
    for start in (0, 1234, num_samples - CHUNK):
        np.testing.assert_allclose(chunked[0]["source"], whole[start : start + CHUNK], atol=2e-4)


def test_a_file_that_ends_early_gives_any_chunk_that_it_has(tmp_path):
    soundfile.write(tmp_path / "clip.wav", ramp(5000), 16_000, subtype="FLOAT")
    chunked = dataset(write(tmp_path, [("clip.wav", 5100), ("clip.wav", 5100, 0), ("clip.wav", 30_000)]))
    chunked.chunk_start = lambda index: 1900
    assert 0 <= start_of(chunked[0]["source"].numpy()) <= 5000 - CHUNK
    with pytest.raises(InputError, match=r"clip\.wav ends 100 samples before"):
        chunked[1]
    (tmp_path / "clip.wav").unlink()
    with pytest.raises(InputError, match=r"clip\.wav cannot be read: no such file"):
        chunked[0]


def test_normalised_by_itself(manifest):
    chunk = dataset(manifest)[0]["source"]
    expected = torch.nn.functional.layer_norm(chunk, chunk.shape)
    torch.testing.assert_close(dataset(manifest, normalize=True)[0]["source"], expected, rtol=0, atol=0)


def test_a_bad_clip_is_replaced(manifest, tmp_path):
    (tmp_path / "barely.wav").write_bytes(b"")
    speech_dataset = SpeechDataset(dataset(manifest), BadClips("train", 5, 0.5))
    item = speech_dataset[2]
    assert item["id"] != 2 and len(item["source"]) == CHUNK and speech_dataset.bad_clips.indices() == [2]


def test_a_chunk_must_have_a_sample(manifest):
    with pytest.raises(InputError, match=r"task\.chunk_seconds=0: "):
        ChunkDataset(manifest, 16_000, chunk_seconds=0)


def wrapped(manifest) -> SpeechDataset:
    subset = SubsampleDataset(dataset(manifest), 0.9, seed=1)
    labelled = AddTargetDataset(subset, [b"a"] * 5, 0, 1, False, lambda label: torch.tensor([1]), len)
    return SpeechDataset(labelled, BadClips("train", 5, 0))


def iterate(task, speech_dataset, epoch, num_workers, state=None):
    """{clip: where its chunk begins} of an epoch as fairseq's trainer goes through it, and the state half-way."""
    iterator = task.get_batch_iterator(
        speech_dataset, max_sentences=1, seed=1, num_workers=num_workers, epoch=epoch, data_buffer_size=2
    )
    if state is not None:
        iterator.load_state_dict(state)
    starts, half_way = {}, None
    for number, batch in enumerate(iterator.next_epoch_itr()):
        starts[batch["id"].item()] = start_of(batch["net_input"]["source"][0].float().numpy())
        if number == 1:
            half_way = iterator.state_dict()
    return starts, half_way


def test_epochs_reach_the_data_workers(manifest, tmp_path):
    config = SpeechPretrainingConfig(data=str(tmp_path), enable_padding=True, tpu=False, seed=1)
    task = setup_task(OmegaConf.merge(OmegaConf.structured(config), {"_name": "speech_pretraining"}))
    speech_dataset = wrapped(manifest)
    assert not speech_dataset.can_reuse_epoch_itr_across_epochs
    epochs = {}
    for epoch in (1, 2):
        epochs[epoch], half_way = iterate(task, speech_dataset, epoch, num_workers=2)
        assert len(epochs[epoch]) == 5
        for clip, start in epochs[epoch].items():
            expected = dataset(manifest)
            expected.set_epoch(epoch)
            assert start == expected.chunk_start(clip) + (5000 if clip == 1 else 0)
        assert epochs[epoch] == iterate(task, wrapped(manifest), epoch, num_workers=0)[0]
    assert epochs[1] != epochs[2]
    resumed, _ = iterate(task, wrapped(manifest), 2, num_workers=1, state=half_way)
    assert 0 < len(resumed) < 5 and resumed.items() <= epochs[2].items()


def test_workers_that_are_spawned_know_the_epoch(manifest):
    speech_dataset = SpeechDataset(dataset(manifest), BadClips("train", 5, 0))
    speech_dataset.set_epoch(7)
    twin = pickle.loads(pickle.dumps(speech_dataset))
    expected = dataset(manifest)
    expected.set_epoch(7)
    assert twin.epoch == 7 and start_of(twin[0]["source"].numpy()) == expected.chunk_start(0)
    assert expected.chunk_start(0) != dataset(manifest).chunk_start(0)
