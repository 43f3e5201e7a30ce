"""Kept hidden states: what was encoded comes back, whatever is killed in between."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from summarymixing_fairseq.probing.kept_features import cache as state_cache
from summarymixing_fairseq.probing.kept_features.cache import StateCache, cache_key
from summarymixing_fairseq.system.errors import InputError

S, D, HOP = 3, 5, 40
LENGTHS = [700, 1300, 120, 641, 999, 80, 400, 1201, 333, 560, 95, 870]
NAMES = [f"{i}.wav" for i in range(len(LENGTHS))]
FORK = multiprocessing.get_context("fork")


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


def new_cache(folder, num_clips=12) -> StateCache:
    return StateCache(folder, "key", num_clips, S, D)


def fill(cache, read=waveform, encode=encode, **others):
    options = {"max_batch_samples": 2000, "progress": "train", "names": NAMES, "samples_per_frame": HOP, **others}
    cache.fill(read, encode, LENGTHS, **options)
    return cache


def assert_complete(cache):
    for clip in range(len(LENGTHS)):
        states = cache[clip]
        assert states.dtype == np.float32 and states.flags.writeable
        np.testing.assert_array_equal(states, directly(clip))
    assert cache.num_frames.tolist() == [length // HOP for length in LENGTHS]


def test_each_clip_is_read_once_and_comes_back_as_encoded(tmp_path):
    read = []
    cache = fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip))
    assert_complete(cache)
    assert sorted(read) == list(range(len(LENGTHS)))
    again = new_cache(tmp_path)
    fill(again, read=None, encode=None)  # nothing left to do
    assert_complete(again)
    assert (tmp_path / "key/states.bin").stat().st_size == cache.needed_bytes([n // HOP * HOP for n in LENGTHS], HOP)


def test_batches_are_of_like_length_and_limited(tmp_path):
    shapes = []

    def watch(source, padding_mask):
        shapes.append((tuple(source.shape), int(padding_mask.sum())))
        return encode(source, padding_mask)

    fill(new_cache(tmp_path), encode=watch)
    assert len(shapes) > 2 and all(rows * length <= 2000 for (rows, length), _ in shapes)
    assert sum(padding for _, padding in shapes) < 0.3 * sum(LENGTHS)


class LimitedFile:
    """A file that takes ``num_bytes``; the write that would go beyond is cut short, and ``at_limit`` is called."""

    def __init__(self, file, num_bytes, at_limit):
        self._file, self._left, self._at_limit = file, num_bytes, at_limit

    def write(self, data) -> int:
        if not self._left:
            self._at_limit()
        written = self._file.write(data[: self._left])
        self._left -= written
        return written

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def limited_open(num_bytes, at_limit):
    return lambda *args, **options: LimitedFile(open(*args, **options), num_bytes, at_limit)


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
    there = [clip for clip in range(len(LENGTHS)) if cache.num_frames[clip] >= 0]
    for clip in there:
        np.testing.assert_array_equal(cache[clip], directly(clip))
    return len(there)


def test_killed_in_the_middle_of_a_write(tmp_path, monkeypatch):
    """At any byte of the states, again and again over the same cache."""
    monkeypatch.setattr(state_cache, "COMMIT_SECONDS", 0.0)
    chance = random.Random(3)

    def child(num_bytes):
        state_cache.open = limited_open(num_bytes, lambda: os.kill(os.getpid(), signal.SIGKILL))
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


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    """States that the index does not list, and a temporary index."""
    cache = fill(new_cache(tmp_path))
    index, states = cache.folder / "index.json", cache.folder / "states.bin"
    complete, content = index.read_text(), states.read_bytes()
    *others, (last, _) = json.loads(complete)["clips"]
    index.write_text(json.dumps({"clips": others, "bad": {}}))
    (cache.folder / ".index.json.tmp").write_text("[")
    states.write_bytes(content + b"torn")
    cache = new_cache(tmp_path)
    assert cache.missing() == [last]
    with pytest.raises(KeyError, match=f"clip {last} is not in"):
        cache[last]
    assert_complete(fill(cache))
    assert (index.read_text(), states.read_bytes()) == (complete, content)


@pytest.mark.parametrize(
    "index",
    ["", "[]", "{", "{}", '{"clips": [[12, 1]], "bad": {}}', '{"clips": [5], "bad": {}}', '{"clips": [], "bad": []}'],
)
def test_a_damaged_index_is_refused(tmp_path, index):
    cache = fill(new_cache(tmp_path))
    (cache.folder / "index.json").write_text(index)
    with pytest.raises(InputError, match=rf"damaged \(index\.json is not .*\): delete {tmp_path}/key"):
        new_cache(tmp_path)


def test_states_cut_short_are_refused_and_filled_again_where_they_are_gone(tmp_path):
    cache = fill(new_cache(tmp_path))
    states = tmp_path / "key/states.bin"
    size = states.stat().st_size
    os.truncate(states, size - 1)
    with pytest.raises(InputError, match=rf"states\.bin has {size - 1} bytes of {size}\): delete {tmp_path}/key"):
        new_cache(tmp_path)
    last = json.loads((cache.folder / "index.json").read_text())["clips"][-1][0]
    for _ in range(2):
        with pytest.raises(InputError, match=rf"states\.bin has no clip {last}\): delete"):
            cache[last]
        states.unlink(missing_ok=True)
    assert_complete(fill(new_cache(tmp_path)))


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
            raise InputError(f"{NAMES[clip]} cannot be read: \u00e9\n{clip}")
        return waveform(clip)

    cache = fill(new_cache(tmp_path), read, min_samples=90)
    for again in (cache, new_cache(tmp_path)):
        assert set(again.bad) == {4, 5, 7} and check_what_is_there(again) == len(LENGTHS) - 3
        with pytest.raises(InputError, match="4.wav cannot be read: \u00e9\n4"):
            again[4]
        with pytest.raises(InputError, match=r"5\.wav is too short: its 80 samples give no frame"):
            again[5]
    broken.remove(7)
    cache = fill(new_cache(tmp_path), read)
    assert set(cache.bad) == {4} == set(new_cache(tmp_path).bad)
    np.testing.assert_array_equal(cache[7], directly(7))


def test_all_clips_bad(tmp_path):
    def read(clip):
        raise InputError("gone")

    fill(new_cache(tmp_path), read, encode=None)
    assert set(new_cache(tmp_path).bad) == set(range(len(LENGTHS)))


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
    needed = cache.needed_bytes(LENGTHS, HOP)
    assert needed == sum(-(-length // HOP) for length in LENGTHS) * S * D * 4
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

    monkeypatch.setattr(state_cache, "open", limited_open(3000, refuse), raising=False)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).*task\.cache_dir"):
        fill(new_cache(tmp_path))
    assert check_what_is_there(new_cache(tmp_path)) > 0
    monkeypatch.undo()
    assert_complete(fill(new_cache(tmp_path)))


def test_an_index_that_cannot_be_written(tmp_path):
    cache = new_cache(tmp_path)
    (cache.folder / "index.json").mkdir(parents=True)  # nothing can be renamed to it
    with pytest.raises(InputError, match=r"cannot be (read|written) .*[Dd]irectory"):
        fill(cache)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/key"):
        fill(new_cache(tmp_path / "file"))


def test_reading_runs_ahead_of_the_encoder(tmp_path):
    read, at_encoding = [], []

    def watch(*batch):
        wait_until(lambda: len(read) >= min(len(at_encoding) + 3, len(LENGTHS)))
        at_encoding.append(len(read))
        return encode(*batch)

    fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip), watch, max_batch_samples=1)
    # this batch and the two after it, no more of them
    assert at_encoding == [*range(3, len(LENGTHS) + 1), len(LENGTHS), len(LENGTHS)]


def test_the_bar_shows_only_if_it_takes_long(tmp_path, capsys, monkeypatch):
    fill(new_cache(tmp_path))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(state_cache, "BAR_AFTER_SECONDS", 0.0)
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
