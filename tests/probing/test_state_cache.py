"""Cached hidden states: what was encoded comes back, whatever dies in between."""

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
from summarymixing_fairseq.probing.kept_features import index as state_index
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


def new_cache(folder, dtype="float32", num_clips=12) -> StateCache:
    return StateCache(folder, "key", num_clips, S, D, dtype)


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


def test_float16(tmp_path):
    cache = fill(new_cache(tmp_path, "float16"))
    for clip in range(len(LENGTHS)):
        assert cache[clip].dtype == np.float32
        np.testing.assert_array_equal(cache[clip], directly(clip).astype(np.float16))
        np.testing.assert_allclose(cache[clip], directly(clip), rtol=1e-3, atol=1e-6)
    assert (tmp_path / "key/states.bin").stat().st_size * 2 == cache.num_frames.sum() * S * D * 4
    with pytest.raises(InputError, match=r"1\.wav: hidden states as large as .* do not fit float16: .*float32"):
        fill(new_cache(tmp_path / "b", "float16"), encode=lambda *batch: (encode(*batch)[0] * 1e5, encode(*batch)[1]))
    with pytest.raises(ValueError, match="dtype='int8'"):
        new_cache(tmp_path, "int8")


def die_after(num_bytes: int):
    """A write that ends in SIGKILL once so many bytes are written."""
    left = num_bytes
    write = os.write

    def dying(descriptor: int, data) -> int:
        nonlocal left
        written = write(descriptor, data[:left])
        left -= written
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    return dying


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
    """At any byte of the states or the journal, again and again over the same cache."""
    monkeypatch.setattr(state_index, "COMMIT_SECONDS", 0.0)
    chance = random.Random(3)

    def child(num_bytes):
        state_index.os = SimpleNamespace(**{**vars(os), "write": die_after(num_bytes)})
        fill(new_cache(tmp_path))

    progress = [0]
    for _ in range(12):
        process = in_a_process(child, chance.randrange(1, 4000))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        progress.append(check_what_is_there(new_cache(tmp_path)))
        assert progress[-1] >= progress[-2]
    assert len(progress) > 3 and progress[-1] > 0
    assert_complete(fill(new_cache(tmp_path)))


def test_killed_at_random_moments(tmp_path, monkeypatch):
    monkeypatch.setattr(state_index, "COMMIT_SECONDS", 0.0)
    chance = random.Random(5)

    def slow(*batch):
        time.sleep(0.02)
        return encode(*batch)

    for _ in range(5):
        process = in_a_process(lambda: fill(new_cache(tmp_path), encode=slow, max_batch_samples=1))
        time.sleep(chance.uniform(0.02, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        check_what_is_there(new_cache(tmp_path))
    assert_complete(fill(new_cache(tmp_path)))  # the lock went with its holder


def test_an_error_keeps_what_was_encoded(tmp_path):
    batches = []

    def failing(*batch):
        batches.append(batch)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return encode(*batch)

    cache = new_cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fill(cache, encode=failing)
    num_there = check_what_is_there(new_cache(tmp_path))
    assert num_there == sum(len(source) for source, _ in batches[:2])
    read = []
    assert_complete(fill(new_cache(tmp_path), lambda clip: read.append(clip) or waveform(clip)))
    assert len(read) == len(LENGTHS) - num_there


@pytest.mark.parametrize("torn", [b"3\t1", b"3\t100\t20", b"\0" * 99, b'4\tbad\t"tr'])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    cache = fill(new_cache(tmp_path))
    journal = tmp_path / "key/index.tsv"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = int(lines[-1].split(b"\t")[0])
    journal.write_bytes(b"".join(lines[:-1]) + torn)
    with open(tmp_path / "key/states.bin", "ab") as states:
        states.write(b"torn too")
    cache = new_cache(tmp_path)
    assert np.flatnonzero(cache.num_frames < 0).tolist() == [last]
    with pytest.raises(KeyError, match=f"clip {last} is not in"):
        cache[last]
    assert_complete(fill(cache))
    assert journal.read_bytes() == b"".join(lines)
    assert (tmp_path / "key/states.bin").stat().st_size == cache._index.end


@pytest.mark.parametrize("line", [b"", b"5", b"5\t7\t1", b"99\t0\t1", b"5\t0\t0", b'99\tbad\t"x"', b'5\tbad\t"\\x"'])
def test_a_damaged_line_is_refused(tmp_path, line):
    (tmp_path / "key").mkdir()
    fill(new_cache(tmp_path))
    journal = tmp_path / "key/index.tsv"
    journal.write_bytes(line + b"\n" + journal.read_bytes())
    with pytest.raises(InputError, match=rf"damaged \(line 1 of index\.tsv is not one\): delete {tmp_path}/key"):
        new_cache(tmp_path)


def test_a_truncated_or_missing_file_is_refused(tmp_path):
    cache = fill(new_cache(tmp_path))
    states = tmp_path / "key/states.bin"
    size = states.stat().st_size
    assert cache[0] is not None  # the file is open
    os.truncate(states, size - 1)
    with pytest.raises(InputError, match=rf"states\.bin has {size - 1} bytes of {size}\): delete {tmp_path}/key"):
        new_cache(tmp_path)
    last = int(np.argmax(cache._index.offsets))
    with pytest.raises(InputError, match=rf"states\.bin ends before clip {last} does\): delete"):
        cache[last]
    states.unlink()
    with pytest.raises(InputError, match=f"has 0 bytes of {size}"):
        new_cache(tmp_path)
    (tmp_path / "key/meta.json").unlink()
    with pytest.raises(InputError, match=r"meta\.json is missing\): delete"):
        new_cache(tmp_path)


def test_another_shape_is_refused(tmp_path):
    fill(new_cache(tmp_path))
    with pytest.raises(InputError, match=rf"have dtype 'float32' where 'float16' is needed: delete {tmp_path}/key"):
        new_cache(tmp_path, "float16")
    with pytest.raises(InputError, match="num_clips 12 where 13 is needed"):
        new_cache(tmp_path, num_clips=13)
    meta = tmp_path / "key/meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "key": "other"}))
    with pytest.raises(InputError, match="key 'other' where 'key' is needed"):
        new_cache(tmp_path)
    for content in ("{", "[]"):
        meta.write_text(content)
        with pytest.raises(InputError, match=r"damaged \(meta\.json is not .*: delete"):
            new_cache(tmp_path)


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
        with pytest.raises(InputError, match=r"5\.wav is too short: the encoder makes no frame of its 80 samples"):
            again[5]
    journal = (tmp_path / "key/index.tsv").read_bytes()
    fill(new_cache(tmp_path), read, min_samples=90)
    assert (tmp_path / "key/index.tsv").read_bytes() == journal  # said once
    broken.remove(7)
    cache = fill(new_cache(tmp_path), read)
    assert set(cache.bad) == {4}
    np.testing.assert_array_equal(cache[7], directly(7))


def test_all_clips_bad(tmp_path):
    def read(clip):
        raise InputError("gone")

    cache = fill(new_cache(tmp_path), read, encode=None)
    assert set(cache.bad) == set(range(len(LENGTHS)))


def test_a_clip_without_a_frame_is_bad(tmp_path):
    cache = fill(new_cache(tmp_path), lambda clip: waveform(clip)[: HOP - 1 if clip == 2 else None])
    assert list(cache.bad) == [2] and "2.wav is too short" in cache.bad[2] and "39 samples" in cache.bad[2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_states_that_are_not_finite(tmp_path, value):
    def read(clip):
        samples = waveform(clip)
        samples[1] = value if clip == 8 else samples[1]
        return samples

    cache = new_cache(tmp_path)
    with pytest.raises(InputError, match=r"8\.wav: its hidden states are not finite numbers"):
        fill(cache, read)
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
    left = 3000

    def write(descriptor, data):
        nonlocal left
        if left <= 0:
            raise OSError(28, "No space left on device")
        written = os.write(descriptor, data[:left])
        left -= written
        return written

    monkeypatch.setattr(state_index, "os", SimpleNamespace(**{**vars(os), "write": write}))
    monkeypatch.setattr(state_index, "COMMIT_SECONDS", 0.0)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\).*task\.cache_dir"):
        fill(new_cache(tmp_path))
    assert check_what_is_there(new_cache(tmp_path)) > 0
    monkeypatch.undo()
    assert_complete(fill(new_cache(tmp_path)))


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


def test_wrong_shapes_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"\(B, S, D\) = "):
        fill(new_cache(tmp_path), encode=lambda *batch: (encode(*batch)[0][:, 1:], encode(*batch)[1]))
    with pytest.raises(ValueError, match="11 names for 12 clips"):
        fill(new_cache(tmp_path), names=NAMES[1:])


def test_the_bar_shows_only_if_it_takes_long(tmp_path, capsys, monkeypatch):
    fill(new_cache(tmp_path))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(state_cache, "_BAR_AFTER_SECONDS", 0.0)
    fill(new_cache(tmp_path / "b"))
    captured = capsys.readouterr()
    assert "train: 100%" in captured.err and "12/12" in captured.err and not captured.out


def test_forked_and_pickled_readers(tmp_path):
    cache = fill(new_cache(tmp_path))
    twin = pickle.loads(pickle.dumps(cache))
    cache[0]
    assert_complete(pickle.loads(pickle.dumps(cache)))
    assert_complete(twin)
    processes = [in_a_process(assert_complete, cache) for _ in range(3)]
    assert_complete(cache)
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_numbers_beyond_the_split(tmp_path):
    cache = fill(new_cache(tmp_path))
    for clip in (-1, len(LENGTHS)):
        with pytest.raises(IndexError):
            cache[clip]
    assert len(list(cache)) == len(cache) == len(LENGTHS)


def test_keys():
    assert cache_key("a", b"b") == cache_key("a", "b") != cache_key("ab") != cache_key("b", "a")
    assert cache_key("ab", "c") != cache_key("a", "bc") and len(cache_key()) == 64
