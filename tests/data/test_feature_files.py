"""Hidden states in files: as they were, however they lay in memory; and a run that goes on where it was killed."""

from __future__ import annotations

import json
import os
import weakref

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file

from summarymixing_fairseq.data.feature_files import FeatureFiles
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.system.errors import InputError

ABOUT = {"layer": 1, "dtype": "float32"}


@pytest.fixture
def clips(tmp_path):
    """Six of them, longest first, each of another length and value."""
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", np.full(900 - 10 * i, (i + 1) / 10), 16_000)
    return [Clip(tmp_path / f"{i}.wav", f"{i}.wav") for i in range(6)]


def states_of(waveforms):
    """(frames, width), transposed in memory: the values of a clip say which one it is."""
    return [torch.full((3, len(wave) // 100), float(wave[0])).T for wave in waveforms]


def extract(clips, folder, one_file=False, dtype="float32", about=ABOUT, force=False, extract_batch=states_of):
    """Write all that is missing, a clip a batch, and return how many that were."""
    files = FeatureFiles(clips, folder, None, one_file, dtype)
    files.check_places(force)
    missing = files.begin(about, force)
    files.write(about, missing, extract_batch, 1, 0.01)
    return len(missing)


def found(folder, one_file=False):
    if one_file:
        return load_file(folder / "features.safetensors")
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


class Killed(Exception):
    """In place of a signal."""


def killed_after(number):
    """As ``states_of``, until so many clips were computed."""
    left = [number]

    def compute(waveforms):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return states_of(waveforms)

    return compute


@pytest.mark.parametrize("one_file", [False, True], ids=["npy", "safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_states_come_back_equal(clips, tmp_path, one_file, dtype):
    out = tmp_path / "out"
    assert extract(clips, out, one_file, dtype) == 6
    arrays = found(out, one_file)
    for i, clip in enumerate(clips):
        wave, _ = soundfile.read(clip.path, dtype="float32")
        assert arrays[str(i)].dtype == dtype
        np.testing.assert_array_equal(arrays[str(i)], states_of([wave])[0].numpy().astype(dtype))
    outputs = {"features.safetensors"} if one_file else {f"{i}.npy" for i in range(6)}
    assert {path.name for path in out.iterdir()} == {*outputs, "features.json"}
    assert json.loads((out / "features.json").read_text()) == ABOUT


@pytest.mark.parametrize("one_file", [False, True], ids=["npy", "safetensors"])
def test_a_killed_run_goes_on(clips, tmp_path, one_file):
    out = tmp_path / "out"
    with pytest.raises(Killed):
        extract(clips, out, one_file, extract_batch=killed_after(4))
    assert not (out / "features.json").exists() and not (out / "features.safetensors").exists()
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    assert len(written) == 4
    with pytest.raises(Killed):
        extract(clips, out, one_file, extract_batch=killed_after(1))
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    torn = next(iter(written))  # as by a power cut
    os.truncate(torn, torn.stat().st_size - 4)
    assert extract(clips, out, one_file) == 2
    extract(clips, tmp_path / "at once", one_file)
    expected = found(tmp_path / "at once", one_file)
    assert len(expected) == 6
    for name, array in found(out, one_file).items():
        np.testing.assert_array_equal(array, expected.pop(name))
    assert not expected
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "at once").iterdir())


def test_only_the_same_run_goes_on(clips, tmp_path):
    with pytest.raises(Killed):
        extract(clips, tmp_path / "out", extract_batch=killed_after(2))
    with pytest.raises(InputError, match=r"features\.part\.json is of another run \(layer 1, and not 2\)"):
        extract(clips, tmp_path / "out", about={**ABOUT, "layer": 2})
    with pytest.raises(InputError, match="its clips are others"):
        extract(clips[1:], tmp_path / "out")
    with pytest.raises(InputError, match=r"\(format npy, and not safetensors\)"):
        extract(clips, tmp_path / "out", one_file=True)
    assert extract(clips, tmp_path / "out", about={**ABOUT, "layer": 2}, force=True) == 6
    with pytest.raises(InputError, match=r"0\.npy is there already"):
        extract(clips, tmp_path / "out", about={**ABOUT, "layer": 2})


def test_what_a_forced_run_was_to_replace_is_not_taken_for_its_own(clips, tmp_path):
    extract(clips, tmp_path / "out", extract_batch=lambda waves: [torch.zeros(1, 1)] * len(waves))
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (1e9, 1e9))
    with pytest.raises(Killed):
        extract(clips, tmp_path / "out", force=True, extract_batch=killed_after(2))
    extract(clips, tmp_path / "out")
    assert all(array.all() for array in found(tmp_path / "out").values())


def test_a_folder_is_of_one_kind(clips, tmp_path):
    extract(clips[:2], tmp_path / "out")
    assert extract(clips[2:], tmp_path / "out") == 4
    with pytest.raises(InputError, match=r"features\.json is of another run \(layer 1, and not 3\)"):
        extract([Clip(clips[0].path, "other.wav")], tmp_path / "out", about={**ABOUT, "layer": 3})


@pytest.mark.parametrize("one_file", [False, True], ids=["npy", "safetensors"])
def test_memory_holds_the_states_of_a_batch(clips, tmp_path, one_file):
    alive, most = weakref.WeakSet(), []

    def compute(waveforms):
        states = states_of(waveforms)
        alive.update(states)
        most.append(len(alive))
        return states

    extract(clips, tmp_path / "out", one_file, extract_batch=compute)
    assert len(most) == 6 and max(most) <= 2


def test_what_float16_cannot_hold_is_refused(clips, tmp_path):
    with pytest.raises(InputError, match=r"0\.wav: its hidden states exceed float16: use --dtype float32"):
        extract(clips, tmp_path / "out", dtype="float16", extract_batch=lambda waves: [torch.full((1, 1), 7e4)])
    assert not list((tmp_path / "out").glob("*.npy"))
