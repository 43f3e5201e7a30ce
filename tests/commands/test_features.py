"""`summarymixing features`, and the same in Python."""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fairseq import checkpoint_utils
from pipeline import Trained
from safetensors.numpy import load_file

from summarymixing_fairseq import load_model
from summarymixing_fairseq.commands.inputs import clips_to_read


@pytest.fixture
def features(command):
    """`summarymixing features` in this process."""
    return partial(command, "features")


def test_npy_per_clip_equals_extract(features, trained: Trained, tmp_path: Path) -> None:
    features(trained.pretrained, "--data", trained.data, "--split", "valid", "--dest", tmp_path, "--layer", "all")
    model = load_model(trained.pretrained)
    names = [line.split("\t")[0] for line in (trained.data / "valid.tsv").read_text().splitlines()[1:]]
    files = {p.name for p in tmp_path.iterdir()} - {"valid.features.json"}
    assert files == {Path(n).with_suffix(".npy").name for n in names}
    for name in names:
        states = np.load(tmp_path / Path(name).with_suffix(".npy"))
        wave, _ = soundfile.read(trained.audio / name, dtype="float32")
        assert states.shape == (3, ((len(wave) - 400) // 160 + 1 - 3) // 2 + 1 - 2, 32)
        np.testing.assert_allclose(states, model.extract(wave, layer="all"), atol=1e-5)


def test_safetensors_of_one_layer_of_a_fine_tuned_checkpoint(features, trained: Trained, tmp_path: Path) -> None:
    clips = sorted(trained.audio.glob("*.flac"))[:3]
    features(trained.fine_tuned, *clips, "--dest", tmp_path, "--layer", 1, "--format", "safetensors")
    archive = load_file(tmp_path / "features.safetensors")
    model = load_model(trained.fine_tuned)
    assert sorted(archive) == [clip.stem for clip in clips]
    for clip in clips:
        wave, _ = soundfile.read(clip, dtype="float32")
        np.testing.assert_allclose(archive[clip.stem], model.extract(wave, layer=1), atol=1e-5)


def test_precision_is_that_of_the_products(features, trained: Trained, clip: Path, tmp_path: Path) -> None:
    for precision in ("float32", "auto", "bfloat16"):
        features(trained.pretrained, clip, "--dest", tmp_path / precision, "--precision", precision)
    exact, on_a_cpu, rounded = (
        np.load(tmp_path / name / f"{clip.stem}.npy") for name in ("float32", "auto", "bfloat16")
    )
    np.testing.assert_array_equal(exact, on_a_cpu)
    assert rounded.dtype == np.float32
    error = np.abs(rounded - exact).max()
    assert 1e-4 < error < 0.2  # states have a standard deviation of 1


def test_output_is_the_encoders_own(trained: Trained, clip: Path) -> None:
    model = load_model(trained.pretrained)
    wave, _ = soundfile.read(clip, dtype="float32")
    source = torch.from_numpy(wave)[None]
    (own,), _ = checkpoint_utils.load_model_ensemble([str(trained.pretrained)])  # fairseq's reader
    expected = own.eval().extract_features(source, None)["x"][0].detach()
    torch.testing.assert_close(model.extract(wave), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layer", "message"), [("3", "layer 3: choose 0 .* to 2"), ("top", "a number, all, or output")]
)
def test_no_such_layer(features, layer: str, message: str, trained: Trained, clip: Path, tmp_path: Path) -> None:
    done = features(trained.pretrained, clip, "--dest", tmp_path, "--layer", layer, check=False)
    assert done.returncode and re.search(message, done.stderr) and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_two_clips_of_one_name_are_refused(features, trained: Trained, clip: Path, tmp_path: Path) -> None:
    done = features(trained.pretrained, clip, clip, "--dest", tmp_path, check=False)
    assert done.returncode == 1 and "rename one" in done.stderr


def test_a_bad_file_is_found_before_anything_is_written(features, trained: Trained, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    arguments = ["--dest", tmp_path / "out", "--batch-seconds", 1]
    done = features(trained.pretrained, clip, tmp_path / "text.wav", *arguments, check=False)
    assert done.returncode == 1 and "text.wav cannot be read" in done.stderr
    assert not (tmp_path / "out").exists()  # the folder was made for this run, and is removed


def test_parts_of_a_file_and_another_rate(features, trained: Trained, clip: Path, tmp_path: Path) -> None:
    """Each part gets a file of its own, with the same states as a file that was cut there."""
    samples, _ = soundfile.read(clip, dtype="int16")
    soundfile.write(tmp_path / "long.flac", samples, 16_000)
    soundfile.write(tmp_path / "cut.flac", samples[3200:11_200], 16_000)
    soundfile.write(tmp_path / "fast.wav", np.repeat(samples[:8000], 3), 48_000)
    rows = "long.flac\t8000\t0\nlong.flac\t8000\t3200\ncut.flac\t8000\nfast.wav\t8000\n"
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\n{rows}")
    features(trained.pretrained, "--data", tmp_path, "--dest", tmp_path / "out")
    found = {path.name: np.load(path) for path in (tmp_path / "out").glob("*.npy")}
    assert sorted(found) == ["cut.npy", "fast.npy", "long_0000000000.npy", "long_0000003200.npy"]
    np.testing.assert_allclose(found["long_0000003200.npy"], found["cut.npy"], atol=1e-5)
    assert found["fast.npy"].shape == found["cut.npy"].shape


def test_half_precision_and_times_beside_it(features, trained: Trained, clip: Path, tmp_path: Path) -> None:
    features(trained.pretrained, clip, "--dest", tmp_path, "--layer", 1, "--dtype", "float16")
    states, exact = np.load(tmp_path / f"{clip.stem}.npy"), load_model(trained.pretrained).extract(clip, 1).numpy()
    assert states.dtype == np.float16
    np.testing.assert_allclose(states, exact, rtol=1e-3, atol=1e-5)
    about = json.loads((tmp_path / "features.json").read_text())
    assert about["layer"] == 1 and about["dtype"] == "float16"
    assert about["weights_sha256"] == load_model(trained.pretrained).weights_digest().hex()
    # the last frame hears the end of the clip, to within a step
    end = about["first_centre_seconds"] + (len(states) - 1) * about["step_seconds"] + about["window_samples"] / 32_000
    assert 0 <= soundfile.info(clip).duration - end < about["step_seconds"] == 0.02


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.wav", "a/y.wav", "b/x.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        soundfile.write(name, np.full(1600, 0.1, np.float32), 16_000)
    given = {"data": None, "batch_seconds": 1.0, "allow_outside_root": False}
    of = [argparse.Namespace(audio=[Path(one) for one in folders], **given) for folders in ("a", "ab")]
    assert [clip.name for clip in clips_to_read(of[0])] == ["x.wav", "y.wav"]
    assert [clip.name for clip in clips_to_read(of[1])] == ["a/x.wav", "a/y.wav", "b/x.wav"]
