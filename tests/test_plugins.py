"""A mixer and an objective are one new file each: nothing else in the package is edited.

The files of tests/plugins are laid into a copy of the package. What trains, reads and lists there finds them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from pipeline import ROOT, TEXTS, TINY_MODEL, VOICES
from zygote import Zygote

from summarymixing_fairseq.data.synthesiser import speak

RECIPE = "examples/pretraining/quickstart_contrastive.yaml"
PLUGINS = {"shift.py": "modules/mixing", "regression.py": "models/objectives"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with both files in it, manifests, and a recipe."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(ROOT / "summarymixing_fairseq", folder / "summarymixing_fairseq")
    for name, place in PLUGINS.items():
        shutil.copy(ROOT / "tests" / "plugins" / name, folder / "summarymixing_fairseq" / place / name)
    rows = []
    for number, text in enumerate(TEXTS[:6]):
        wave = speak(text, VOICES[number % 2])
        soundfile.write(folder / f"{number}.flac", wave, 16_000)
        rows.append(f"{number}.flac\t{len(wave)}\n")
    recipe = OmegaConf.load(ROOT / "examples" / "pretraining" / "_quickstart.yaml")
    recipe.criterion = {"_name": "pretraining"}
    recipe.model.update(latent_vars=20, final_dim=16, num_negatives=10)  # to be changed by TINY_MODEL
    (folder / "regression.yaml").write_text(f"# @package _group_\n{OmegaConf.to_yaml(recipe)}")
    for split in ("train", "valid"):
        (folder / f"{split}.tsv").write_text(f"{folder}\n" + "".join(rows))
    return folder


@pytest.fixture(scope="module")
def zygote(folder: Path) -> Iterator[Zygote]:
    """Starts commands with the copy in the place of the package."""
    zygote = Zygote(package=folder, folder=folder)
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def run(zygote: Zygote) -> Callable[..., str]:
    """``run("summarymixing", ..., check=True)``: what the command prints."""

    def call(*command: object, check: bool = True) -> str:
        done = zygote.complete(command)
        assert not check or not done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return call


@pytest.fixture(scope="module")
def train(folder: Path, run: Callable[..., str]) -> Callable[..., str]:
    """``train(*overrides, check=True, recipe=...)``: the log of two updates."""

    def call(*overrides: str, check: bool = True, recipe: Path = ROOT / RECIPE) -> str:
        return run(
            *("fairseq-hydra-train", "--config-dir", recipe.parent, "--config-name", recipe.stem),
            *(f"task.data={folder}", f"common.user_dir={folder}/summarymixing_fairseq", "common.cpu=true"),
            *("optimization.max_update=2", "common.log_interval=1", "dataset.num_workers=0"),
            *TINY_MODEL,
            "+task.quality=false",
            *overrides,
            check=check,
        )

    return call


def test_both_train_through_fairseq_and_every_reader_takes_the_checkpoint(folder, run, train):
    log = train(
        f"checkpoint.save_dir={folder}/run",
        "+model.mixers=[shift,summarymixing]",
        "+model.mixer_options={shift:{steps:3}}",
        "+model.objective=regression",
        "+model.objective_options.scale=2.0",
        recipe=folder / "regression.yaml",
    )
    updates = [json.loads(line[line.index("{") :]) for line in log.splitlines() if "[train_inner]" in line]
    assert [update["num_updates"] for update in updates] == ["1", "2"]
    assert {"loss", "distance", "audio_hours", "masked"} <= set(updates[-1])
    checkpoint = folder / "run" / "checkpoint_last.pt"
    weights = torch.load(checkpoint, weights_only=True)["model"]
    assert "objective.projection.weight" in weights and "encoder.layers.0.mixer.linear.weight" in weights
    run("summarymixing", "export", checkpoint, folder / "shared.safetensors")
    for number, path in enumerate((checkpoint, folder / "shared.safetensors")):
        run("summarymixing", "features", path, folder / "0.flac", "--dest", folder / f"features{number}")
        assert len(list((folder / f"features{number}").glob("*.npy"))) == 1


def test_a_wrong_option_is_told_in_one_line(folder, train):
    log = train(f"checkpoint.save_dir={folder}/no", "model.mixer=shift", "+model.mixer_options.steps=0", check=False)
    assert "model.mixer_options.steps=0: must be at least 1, at most 100" in log


def test_the_objectives_criterion_is_asked_for(folder, train):
    log = train(f"checkpoint.save_dir={folder}/no", "model.objective=regression", check=False)
    assert "criterion._name=wav2vec: the model's objective is trained by pretraining" in log


def test_they_are_listed_and_benchmarked(run):
    listed = run("summarymixing", "options")
    assert "`mixer_options.steps`" in listed and "`objective_options.scale`" in listed
    cell = run("summarymixing", "benchmark", "cell", "--contenders", "no such one", check=False)
    assert "'shift'" in cell
