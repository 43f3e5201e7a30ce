"""Kept hidden states: what was encoded comes back, whatever is killed in between, and stands in for waveforms."""

from __future__ import annotations

import io
import itertools
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data import AddTargetDataset, Dictionary
from fairseq.tasks.audio_finetuning import LabelEncoder, label_len_fn
from safetensors.numpy import load, save
from torch.utils.data import DataLoader

from summarymixing_fairseq.data.bad_clips import BadClips
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.data.waveform import SpeechDataset
from summarymixing_fairseq.probing import kept_features
from summarymixing_fairseq.probing.kept_features import CachedStatesDataset, StateCache, cache_key
from summarymixing_fairseq.system import files
from summarymixing_fairseq.system.errors import InputError

S, D, HOP = 3, 5, 40
LENGTHS = [700, 1300, 120, 641, 999, 80, 400, 1201, 333, 560, 95, 870]
CLIP_BYTES = np.array([length // HOP * S * D * 4 for length in LENGTHS])
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(kept_features, "BATCH_SAMPLES", 2000)


def waveform(clip: int) -> np.ndarray:
    return np.random.default_rng(clip).standard_normal(LENGTHS[clip]).astype(np.float32)


def encode(source, padding_mask):
    """Frames of HOP samples: exact, and so independent of the batch; garbage where padded."""
    lengths = (~padding_mask).sum(1) // HOP
    frames = source[:, : source.size(1) // HOP * HOP].reshape(len(source), -1, HOP)  # (B, N) -> (B, T, HOP)
    states = torch.stack([frames[:, :, s : s + D] * (s + 1) for s in range(S)], dim=1)
    for row, length in zip(states, lengths):
        row[:, length:] = float("nan")
    return states, lengths.tolist()


def directly(clip: int) -> np.ndarray:
    source = torch.from_numpy(waveform(clip))[None]
    return encode(source, torch.zeros_like(source, dtype=torch.bool))[0][0].numpy()


class Audio:
    """As much of ``SegmentDataset`` as ``fill`` asks for."""

    sizes, fnames = LENGTHS, [f"{i}.wav" for i in range(len(LENGTHS))]
    manifest = SimpleNamespace(path=Path("train.tsv"))

    def __init__(self, read):
        self.read = read

    def __getitem__(self, clip):
        return {"id": clip, "source": torch.from_numpy(self.read(clip))}


def new_cache(folder) -> StateCache:
    return StateCache(folder / "key", CLIP_BYTES)


def fill(cache, read=waveform, encode=encode):
    cache.fill(Audio(read), encode)
    return cache


def files_of(cache) -> list[Path]:
    return sorted(cache.folder.glob("*.safetensors"))


def assert_complete(cache):
    for clip in range(len(LENGTHS)):
        states = cache[clip]
        assert states.dtype == np.float32 and states.flags.writeable
        np.testing.assert_array_equal(states, directly(clip))


def test_each_clip_is_read_once_and_comes_back_as_encoded(tmp_path):
    read, masks = [], []

    def watch(source, padding_mask):
        masks.append(padding_mask)
        return encode(source, padding_mask)

    cache = fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip), watch)
    assert_complete(cache)
    assert sorted(read) == list(range(len(LENGTHS)))
    # in batches of like length, and limited
    assert 2 < len(masks) < len(LENGTHS) and all(mask.numel() <= 2000 for mask in masks)
    assert sum(int(mask.sum()) for mask in masks) < 0.3 * sum(LENGTHS)
    again = new_cache(tmp_path)
    fill(again, read=None, encode=None)  # nothing left to do
    assert_complete(again)


def limited_open(num_bytes, at_limit):
    """An ``open`` for files that take ``num_bytes`` in all; ``at_limit`` is called in the write that goes beyond."""

    class LimitedFile(io.FileIO):
        left = num_bytes

        def write(self, data):
            super().write(data[: LimitedFile.left])
            LimitedFile.left -= len(data)
            if LimitedFile.left < 0:
                at_limit()

    return LimitedFile


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def in_a_process(target, *arguments):
    process = FORK.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def check_what_is_there(cache):
    """Every clip is whole or not there; returns how many are."""
    there = set(range(len(LENGTHS))) - set(cache.missing())
    for clip in there:
        np.testing.assert_array_equal(cache[clip], directly(clip))
    return len(there)


def test_killed_in_the_middle_of_a_write(tmp_path):
    """At any byte of the states, again and again over the same cache."""
    chance = random.Random(3)

    def child(num_bytes):
        files.open = limited_open(num_bytes, lambda: os.kill(os.getpid(), signal.SIGKILL))
        fill(new_cache(tmp_path))

    progress = [0]
    while progress[-1] < len(LENGTHS) and len(progress) < 20:
        process = in_a_process(child, chance.randrange(1, 4000))
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        progress.append(check_what_is_there(new_cache(tmp_path)))
        assert progress[-1] >= progress[-2]
    assert len(progress) > 3 and progress[-1] == len(LENGTHS)
    assert_complete(new_cache(tmp_path))
    assert {path.suffix for path in (tmp_path / "key").iterdir()} == {"", ".safetensors"}, "no torn file stays"


def test_an_error_keeps_what_was_encoded(tmp_path):
    batches = []

    def failing(*batch):
        batches.append(batch)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return encode(*batch)

    with pytest.raises(KeyboardInterrupt):
        fill(new_cache(tmp_path), encode=failing)
    num_there = check_what_is_there(new_cache(tmp_path))
    assert num_there == sum(len(source) for source, _ in batches[:2])
    read = []
    assert_complete(fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip)))
    assert len(read) == len(LENGTHS) - num_there


def test_a_damaged_file_is_refused_and_one_that_is_gone_filled_again(tmp_path):
    cache = fill(new_cache(tmp_path))
    path, clip = files_of(cache)[0], int(files_of(cache)[0].stem)
    for content in (b"", b"{", path.read_bytes()[:-1], save({"no number": np.zeros(1)})):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{tmp_path}/key are damaged \(.*\): delete {tmp_path}/key"):
            new_cache(tmp_path)
    path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(InputError, match=r"are damaged .*: delete"):
            cache[clip]
        path.unlink(missing_ok=True)
    cache = new_cache(tmp_path)
    with pytest.raises(KeyError, match=f"clip {clip} is not in"):
        cache[clip]
    assert_complete(fill(cache))


def test_other_bytes_than_were_written(tmp_path):
    """A flipped bit spoils one clip of its file, and the others still come back."""
    cache = fill(new_cache(tmp_path))
    path = next(path for path in files_of(cache) if len(load(path.read_bytes())) > 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    spoiled = []
    for clip in map(int, load(bytes(content))):
        try:
            np.testing.assert_array_equal(new_cache(tmp_path)[clip], directly(clip))
        except InputError as error:
            assert f"{path.name} holds other bytes than were written): delete" in str(error)
            spoiled.append(clip)
    assert len(spoiled) == 1
    path.write_bytes(save(load(bytes(content))))  # without checksums
    with pytest.raises(InputError, match="holds other bytes"):
        new_cache(tmp_path)[spoiled[0]]


def test_two_processes_share_the_work(tmp_path):
    log = tmp_path / "log"

    def child():
        def slow(*batch):
            time.sleep(0.01)
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {len(batch[0])}\n")
            return encode(*batch)

        assert_complete(fill(new_cache(tmp_path), encode=slow))

    processes = [in_a_process(child) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    rows = [line.split() for line in log.read_text().splitlines()]
    assert len({pid for pid, _ in rows}) == 1 and sum(int(number) for _, number in rows) == len(LENGTHS)


def test_the_second_says_that_it_waits(tmp_path, caplog):
    started, go_on = threading.Event(), threading.Event()

    def held(*batch):
        started.set()
        go_on.wait(5)
        return encode(*batch)

    first = threading.Thread(target=fill, args=(new_cache(tmp_path),), kwargs={"encode": held})
    first.start()
    assert started.wait(5)
    cache = new_cache(tmp_path)
    second = threading.Thread(target=fill, args=(cache,), kwargs={"encode": None})
    with caplog.at_level(logging.WARNING):
        second.start()
        wait_until(lambda: caplog.records)
        assert second.is_alive()
        go_on.set()
        second.join()
    first.join()
    assert_complete(cache)
    assert [record.getMessage() for record in caplog.records] == [
        f"another run is filling {tmp_path}/key: waiting for it"
    ]


def test_bad_clips_are_recorded_and_tried_again(tmp_path):
    broken = {4, 7}

    def read(clip):
        if clip in broken:
            raise InputError(f"{clip}.wav cannot be read: \u00e9\n{clip}")
        return waveform(clip)

    cache = fill(new_cache(tmp_path), read)
    assert set(cache.bad) == {4, 7} and check_what_is_there(cache) == len(LENGTHS) - 2
    with pytest.raises(InputError, match="4.wav cannot be read: \u00e9\n4"):
        cache[4]
    broken.remove(7)
    cache = fill(new_cache(tmp_path), read)
    assert set(cache.bad) == {4} and new_cache(tmp_path).missing() == [4]
    np.testing.assert_array_equal(cache[7], directly(7))


def test_all_clips_bad(tmp_path):
    def read(clip):
        raise InputError("gone")

    assert set(fill(new_cache(tmp_path), read, encode=None).bad) == set(range(len(LENGTHS)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_states_that_are_not_finite(tmp_path, value):
    def read(clip):
        samples = waveform(clip)
        samples[1] = value if clip == 8 else samples[1]
        return samples

    with pytest.raises(InputError, match=r"8\.wav: its hidden states are not finite numbers"):
        fill(new_cache(tmp_path), read)
    assert 0 < check_what_is_there(new_cache(tmp_path)) < len(LENGTHS)


def test_room_is_checked_before_anything_is_read(tmp_path, monkeypatch):
    cache = new_cache(tmp_path)
    needed = CLIP_BYTES.sum()
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(
        InputError,
        match=rf"states of train takes about {needed / 1e9:.3g} GB, and {tmp_path}/key has room for .* GB: "
        r"task\.cache_dir can name another disk, task\.cache=false goes without",
    ):
        fill(cache, read=None)
    free.free = needed
    assert_complete(fill(cache))
    free.free = 0
    fill(new_cache(tmp_path), read=None)  # needs no more


def test_a_full_disk_keeps_what_is_there(tmp_path, monkeypatch):
    def refuse():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "open", limited_open(3000, refuse), raising=False)
    with pytest.raises(InputError, match=r"cannot be written.*No space left on device.*kept: task\.cache_dir"):
        fill(new_cache(tmp_path))
    assert check_what_is_there(new_cache(tmp_path)) > 0
    monkeypatch.undo()
    assert_complete(fill(new_cache(tmp_path)))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/key"):
        fill(new_cache(tmp_path / "file"))


def test_reading_runs_ahead_of_the_encoder(tmp_path, monkeypatch):
    read, at_encoding = [], []

    def watch(*batch):
        wait_until(lambda: len(read) >= min(len(at_encoding) + 3, len(LENGTHS)))
        at_encoding.append(len(read))
        return encode(*batch)

    monkeypatch.setattr(kept_features, "BATCH_SAMPLES", 1)
    fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip), watch)
    # this batch and the two after it, no more of them
    assert at_encoding == [*range(3, len(LENGTHS) + 1), len(LENGTHS), len(LENGTHS)]


def test_the_bar_shows_only_if_it_takes_long(tmp_path, capsys, monkeypatch):
    fill(new_cache(tmp_path))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(kept_features, "BAR_AFTER_SECONDS", 0.0)
    fill(new_cache(tmp_path / "b"))
    captured = capsys.readouterr()
    assert "train: 100%" in captured.err and "12/12" in captured.err and not captured.out


def test_forked_and_pickled_readers(tmp_path):
    cache = fill(new_cache(tmp_path))
    assert_complete(pickle.loads(pickle.dumps(cache)))
    processes = [in_a_process(assert_complete, cache) for _ in range(3)]
    assert_complete(cache)
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_keys():
    assert cache_key("a", b"b") == cache_key("a", "b") != cache_key("ab") != cache_key("b", "a")
    assert cache_key("ab", "c") != cache_key("a", "bc") and len(cache_key()) == 64


@pytest.fixture
def audio(tmp_path, speech):
    """Four clips; the last row is a part of the first file."""
    rows = []
    for number, wave in enumerate(speech):
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000, subtype="FLOAT")
        rows.append(f"{number}.wav\t{len(wave)}\n")
    rows.append("0.wav\t9000\t4000\n")
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(rows))
    return SegmentDataset(Manifest(tmp_path / "train.tsv"), 16_000, pad=True)


def cached(audio) -> CachedStatesDataset:
    """The dataset over a cache filled just now."""
    dataset = CachedStatesDataset(audio)
    dataset.cache = StateCache(audio.manifest.path.parent / "cache", np.zeros(len(audio)))
    dataset.cache.fill(audio, encode)
    return dataset


def test_items_are_the_states_of_their_audio(audio):
    built = cached(audio)
    for dataset, index in itertools.product((built, pickle.loads(pickle.dumps(built))), range(5)):
        source = audio[index]["source"][None]
        expected, _ = encode(source, torch.zeros_like(source, dtype=torch.bool))
        item = dataset[index]
        assert item.keys() == {"id", "states"} and item["id"] == index
        torch.testing.assert_close(item["states"], expected[0], rtol=0, atol=0)


def test_padding(audio):
    dataset = cached(audio)
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


def test_batches_are_those_of_the_audio(audio):
    kept, plain = (SpeechDataset(dataset, BadClips("train", 5, 0)) for dataset in (cached(audio), audio))
    np.testing.assert_array_equal(kept.sizes, audio.sizes)
    assert list(kept.fnames) == list(audio.fnames) and kept.skipped_indices == set()
    orders = []
    for dataset in (kept, plain):
        np.random.seed(2)
        order = dataset.ordered_indices()
        orders.append([b.tolist() for b in dataset.batch_by_size(order, max_tokens=70_000)])
        assert [dataset.num_tokens(i) for i in range(5)] == audio.sizes.tolist()
    assert orders[0] == orders[1] and len(orders[0]) > 1


def test_with_labels_workers_and_a_stand_in(audio, tmp_path):
    letters = Dictionary()
    for letter in "ABCDE":
        letters.add_symbol(letter)
    (tmp_path / "1.wav").write_bytes(b"no audio")
    labels = [b"A", b"B", b"C", b"D", b"E"]
    labelled = AddTargetDataset(
        cached(audio), labels, letters.pad(), letters.eos(), True, LabelEncoder(letters), label_len_fn
    )
    dataset = SpeechDataset(labelled, BadClips("train", 5, 0.5))
    (batch,) = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=dataset.collater)
    stand_in = batch["id"][1].item()
    assert stand_in != 1 and dataset.bad_clips.indices() == [1]
    assert [letters[target] for target in batch["target"][:, 0]] == ["ABCDE"[i] for i in batch["id"]]
    assert batch["net_input"].keys() == {"states", "padding_mask"}
    assert batch["net_input"]["states"].dtype == torch.float32
    torch.testing.assert_close(batch["net_input"]["states"][1], batch["net_input"]["states"][stand_in])
