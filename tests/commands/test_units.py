"""`summarymixing units`: clustering any layer of any encoder, and what fairseq's HuBERT makes of the units."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from encoder_checkpoints import OURS, configuration, save, stock_model
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig, HubertPretrainingTask
from processes import hidden_files
from sklearn.cluster import KMeans

from summarymixing_fairseq import load_model
from summarymixing_fairseq.data.alignments import Alignment, Interval, as_json
from summarymixing_fairseq.data.units import read_units

SPLITS = {"train": (0, 1, 2), "valid": (3,)}


@pytest.fixture
def units(command):
    """`summarymixing units` in this process."""
    return partial(command, "units")


@pytest.fixture(scope="module")
def data(speech, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests of three clips and of one."""
    folder = tmp_path_factory.mktemp("data")
    for split, numbers in SPLITS.items():
        rows = "".join(f"{number}.wav\t{len(speech[number])}\n" for number in numbers)
        (folder / f"{split}.tsv").write_text(f"{folder}\n{rows}")
        for number in numbers:
            soundfile.write(folder / f"{number}.wav", speech[number], 16_000, "FLOAT")
    return folder


@pytest.fixture(scope="module")
def checkpoints(tiny_model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("checkpoints")
    models = {OURS: tiny_model(), "wav2vec2": stock_model("wav2vec2"), "hubert": stock_model("hubert")}
    return {
        kind: save(folder / f"{kind}.pt", configuration(model, kind), model.state_dict())
        for kind, model in models.items()
    }


@pytest.fixture(scope="module")
def fitted(checkpoints: dict[str, Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units of layer 1 of our encoder."""
    from summarymixing_fairseq.commands.main import main

    path = tmp_path_factory.mktemp("fitted") / "units.safetensors"
    arguments = ["units", "fit", checkpoints[OURS], "--data", data, "--split", "train", "--layer", 1, "--clusters", 6]
    assert main([*map(str, arguments), "--dest", str(path), "--device", "cpu"]) == 0
    return path


def lines(path: Path) -> list[list[int]]:
    return [list(map(int, line.split())) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("layer", ["0", "2", "output"])
@pytest.mark.parametrize("kind", [OURS, "wav2vec2", "hubert"])
def test_units_equal_those_of_kmeans_on_all_frames(units, checkpoints, data, tmp_path, speech, kind, layer) -> None:
    path, out = tmp_path / "u.safetensors", tmp_path / "out"
    done = units("fit", checkpoints[kind], "--data", data, "--split", "train", "--layer", layer, "--clusters", 6,
                 "--dest", path)  # fmt: skip
    model = load_model(checkpoints[kind])
    number = layer if layer == "output" else int(layer)
    assert sorted(map(len, speech[:3]), reverse=True) == [*map(len, speech[:3])]  # the order of a batch
    states = [clip.double().numpy() for clip in model.extract_batch(speech[:3], layer=number)]
    num_frames = sum(map(len, states))
    assert done.stdout == f"{path}: 6 units of layer {layer}, of {num_frames} frames\n"
    units("apply", checkpoints[kind], path, "--data", data, "--split", "train", "--dest", out)

    found = read_units(path)
    assert (found.about.layer, found.about.encoder) == (number, model.describe())
    assert (found.about.seed, found.about.num_frames) == (1, num_frames)
    kmeans = KMeans(6, init=found.centroids, n_init=1, max_iter=1).fit(np.concatenate(states))
    kmeans.cluster_centers_ = found.centroids.astype(np.float64)
    assert lines(out / "train.km") == [kmeans.predict(clip).tolist() for clip in states]
    about = json.loads((out / "train.km.json").read_text())
    window = model.min_samples()
    expected = {"shift_samples": 320, "window_samples": window, "sample_rate_hz": 16_000, "label_rate": 50.0}
    expected |= {"clusters": 6, "clips": 3, "frames": num_frames, "layer": number}
    assert about.items() >= expected.items()
    # the last frame that the times tell lies in the clip, and one more would not
    for clip, wave in zip(states, speech):
        last = (len(clip) - 1) * 320 + window
        assert last <= len(wave) < last + 320


def test_fairseq_hubert_takes_them(units, checkpoints, fitted: Path, data: Path, tmp_path: Path, speech) -> None:
    """Both splits in one folder, read by its task, and a forward pass of its model."""
    for split in SPLITS:
        units("apply", checkpoints[OURS], fitted, "--data", data, "--split", split, "--dest", tmp_path)
    about = json.loads((tmp_path / "train.km.json").read_text())
    config = HubertPretrainingConfig(data=str(data), labels=["km"], label_dir=str(tmp_path), pad_audio=True)
    config.label_rate, config.random_crop = about["label_rate"], False
    task = HubertPretrainingTask(config)
    (dictionary,) = task.dictionaries
    assert dictionary.symbols[dictionary.nspecial :] == list("012345")
    for split, numbers in SPLITS.items():
        task.load_dataset(split)
        dataset = task.datasets[split]
        rows = lines(tmp_path / f"{split}.km")
        assert len(dataset) == len(rows) == len(numbers)
        for i, row in enumerate(rows):
            assert dataset[i]["label_list"][0].tolist() == [dictionary.nspecial + unit for unit in row]
    dataset = task.datasets["train"]
    batch = dataset.collater([dataset[i] for i in range(3)])
    model = stock_model("hubert").train()
    assert batch["target_lengths_list"][0].tolist() == [len(row) for row in lines(tmp_path / "train.km")]
    features, targets = model.forward_targets(
        model.forward_features(batch["net_input"]["source"]), batch["target_list"]
    )
    assert features.size(2) == targets[0].size(1)


def test_audio_files_and_runs(units, checkpoints, fitted: Path, data: Path, tmp_path: Path) -> None:
    clips = [data / "2.wav", data / "0.wav"]
    units("apply", checkpoints[OURS], fitted, *clips, "--dest", tmp_path, "--collapse")
    frames, runs, durations = (lines(tmp_path / f"units.{name}") for name in ("km", "runs", "durations"))
    for row, units_of_runs, num_frames in zip(frames, runs, durations):
        assert np.repeat(units_of_runs, num_frames).tolist() == row
        assert all(a != b for a, b in zip(units_of_runs, units_of_runs[1:]))
    assert len(frames) == 2 and len(frames[0]) < len(frames[1])
    units("apply", checkpoints[OURS], fitted, clips[0], "--dest", tmp_path, "--force")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dict.km.txt", "units.km", "units.km.json"]
    assert lines(tmp_path / "units.km") == frames[:1]


def test_agreement_with_phones(units, checkpoints, fitted: Path, data: Path, tmp_path: Path, speech) -> None:
    """Half of each clip is a phone: all its frames, and no others, count."""
    labels, clips = tmp_path / "labels", SPLITS["train"]
    labels.mkdir()
    for i in clips:
        seconds = len(speech[i]) / 16_000
        intervals = (Interval("a", 0.0, seconds / 4), Interval("b", seconds / 4, seconds / 2))
        (labels / f"{i}.json").write_text(as_json(Alignment({"phones": intervals}, seconds)))
    arguments = ["apply", checkpoints[OURS], fitted, "--data", data, "--split", "train", "--labels", labels]
    done = units(*arguments, "--dest", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "train.km.json").read_text())
    rows = lines(tmp_path / "out" / "train.km")
    centres = [np.arange(len(row)) * 320 + about["window_samples"] / 2 for row in rows]
    counts = np.zeros((6, 2))
    for row, at, i in zip(rows, centres, clips):
        for unit, quarter in zip(row, (at * 4 // len(speech[i])).astype(int)):
            if quarter < 2:
                counts[unit, quarter] += 1
    found = about["phones"]
    assert (found["frames"], found["phones"]) == (counts.sum(), 2)
    assert abs(found["class_purity"] - counts.max(1).sum() / counts.sum()) < 1e-9
    assert done.stdout.splitlines()[1].endswith(f", PNMI {found['pnmi']:.4f}")

    words = Alignment({"words": (Interval("a", 0.0, 0.1),)}, len(speech[1]) / 16_000)
    (labels / "1.json").write_text(as_json(words))
    done = units(*arguments, "--dest", tmp_path / "other", check=False)
    assert done.returncode == 1 and "labels of 1.wav in" in done.stderr and "have no phones" in done.stderr
    (labels / "1.json").unlink()
    done = units(*arguments, "--dest", tmp_path / "other", check=False)
    assert done.returncode == 1 and "has no labels of 1.wav" in done.stderr.splitlines()[-1]
    assert "audio:" not in done.stderr and not (tmp_path / "other").exists()
    done = units("apply", checkpoints[OURS], fitted, data / "0.wav", "--labels", labels, "--dest", labels, check=False)
    assert done.returncode == 1 and "--labels needs a manifest" in done.stderr


def test_the_same_seed_gives_the_same_bytes(units, checkpoints, data: Path, fitted: Path, tmp_path: Path) -> None:
    """In batches of one clip too; and a sample of the frames is another clustering."""
    arguments = ["fit", checkpoints[OURS], "--data", data, "--split", "train", "--layer", 1, "--clusters", 6]
    paths = [tmp_path / f"{name}.safetensors" for name in "abcd"]
    units(*arguments, "--dest", paths[0])
    units(*arguments, "--dest", paths[1], "--seed", 2)
    for path in paths[2:]:
        units(*arguments, "--dest", path, "--max-frames", 100)
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == fitted.read_bytes() and contents[2] == contents[3] and len({*contents}) == 3
    assert read_units(paths[2]).about.num_frames == 100


def test_units_without_a_frame_are_said(units, checkpoints, tmp_path: Path) -> None:
    """Of silence, all frames far from the edges are the same."""
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    done = units("fit", checkpoints["hubert"], tmp_path / "silence.wav", "--layer", 0, "--clusters", 90, "--dest",
                 tmp_path / "u.safetensors")  # fmt: skip
    assert "units are nearest to no frame: fewer clusters would do" in done.stdout


FIT = ["--layer", "1", "--clusters", "6", "--dest", "{out}/u.safetensors"]
VALID = ["--data", "{data}", "--split", "valid"]
REFUSED_FITS = {
    "layer 3: choose 0 (encoder input) to 2": [*VALID, *FIT, "--layer", "3"],
    "--layer all: units are of one layer": [*VALID, *FIT, "--layer", "all"],
    "--clusters 0: must be 1 to": [*VALID, *FIT, "--clusters", "0"],
    "5000 clusters of ": [*VALID, *FIT, "--clusters", "5000"],
    "--max-frames 5: must be at least --clusters, 6": [*VALID, *FIT, "--max-frames", "5"],
    "--seed -1: must be 0 to": [*VALID, *FIT, "--seed", "-1"],
    "u.pt: name it FILE.safetensors": [*VALID, *FIT, "--dest", "{out}/u.pt"],
    "manifest {data}/none.tsv cannot be read": [*VALID, *FIT, "--split", "none"],
    "name the clips": FIT,
    "short.wav: 500 samples, ": ["{data}/short.wav", *FIT],
}


@pytest.mark.parametrize("message", REFUSED_FITS)
def test_a_fit_that_is_refused(units, checkpoints, data: Path, tmp_path: Path, message: str) -> None:
    soundfile.write(data / "short.wav", np.full(500, 0.1), 16_000)
    places = {"data": data, "out": tmp_path / "out"}
    arguments = [argument.format(**places) for argument in REFUSED_FITS[message]]
    done = units("fit", checkpoints[OURS], *arguments, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("summarymixing units: ")]
    assert done.returncode == 1 and len(said) == 1 and message.format(**places) in said[0]
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_an_apply_that_is_refused(units, checkpoints, data: Path, fitted: Path, tmp_path: Path) -> None:
    soundfile.write(data / "short.wav", np.full(500, 0.1), 16_000)
    for message, checkpoint, path, *more in (
        ("holds units of other weights (wav2vec2_summarymixing", "hubert", fitted, data / "0.wav"),
        ("0.wav holds no units", OURS, data / "0.wav", data / "0.wav"),
        ("gone cannot be read", OURS, tmp_path / "gone", data / "0.wav"),
        ("short.wav: 500 samples, ", OURS, fitted, data / "0.wav", data / "short.wav"),
        ("none.tsv cannot be read", OURS, fitted, "--data", data, "--split", "none"),
    ):
        done = units("apply", checkpoints[checkpoint], path, *more, "--dest", tmp_path / "out", check=False)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_an_exported_checkpoint_has_the_same_units(command, checkpoints, data, fitted, tmp_path: Path) -> None:
    command("export", checkpoints[OURS], tmp_path / "e.safetensors")
    for number, path in enumerate((checkpoints[OURS], tmp_path / "e.safetensors")):
        command("units", "apply", path, fitted, data / "0.wav", "--dest", tmp_path / str(number))
    assert (tmp_path / "0" / "units.km").read_text() == (tmp_path / "1" / "units.km").read_text()


def test_states_that_are_not_finite(units, checkpoints, data: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoints[OURS], weights_only=True)
    for name, weight in state["model"].items():
        if "encoder.layers.0." in name and "norm" in name:
            weight.fill_(3e38)
    torch.save(state, tmp_path / "c.pt")
    arguments = [data / "0.wav", "--layer", 1, "--clusters", 6, "--dest", tmp_path / "u.safetensors"]
    done = units("fit", tmp_path / "c.pt", *arguments, check=False)
    assert done.returncode == 1 and "its states are not finite numbers" in done.stderr
    assert not hidden_files(tmp_path) and not (tmp_path / "u.safetensors").exists()


def test_what_is_there_is_not_overwritten(units, checkpoints, data: Path, fitted: Path, tmp_path: Path) -> None:
    for name in ("u.safetensors", "train.km", "valid.runs"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "dict.km.txt").write_text("0 1\n")
    apply = ["apply", checkpoints[OURS], fitted, "--data", data, "--dest", tmp_path]
    for message, *arguments in (
        ("u.safetensors is there already", "fit", checkpoints[OURS], data / "0.wav", "--layer", 1, "--clusters", 6,
         "--dest", tmp_path / "u.safetensors"),
        ("train.km is there already", *apply, "--split", "train"),
        ("valid.runs is there already", *apply, "--split", "valid", "--collapse"),
        ("dict.km.txt is not of 6 units", *apply, "--split", "valid"),
    ):  # fmt: skip
        done = units(*arguments, check=False)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1]
    units(*apply, "--split", "train", "--force")
    assert len(lines(tmp_path / "train.km")) == 3 and len((tmp_path / "dict.km.txt").read_text().splitlines()) == 6
