"""Small trainings whose every source of randomness is on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from pipeline import RECIPES, TEXTS, TINY_MODEL, VOICES
from zygote import Zygote, shared_zygote

# LayerDrop, dropout everywhere, masks, Gumbel noise, and clips longer than they may train at
NOISY = (
    "+model.encoder_layerdrop=0.4",
    "model.encoder_layers=3",
    "model.dropout=0.1",
    "model.attention_dropout=0.1",
    "model.activation_dropout=0.1",
    "model.dropout_input=0.1",
    "task.max_sample_size=16000",
    "dataset.max_tokens=48000",
    "optimizer._name=fused_adamw",
    "optimizer.adam_betas=[0.9,0.98]",
)


@pytest.fixture(scope="session")
def zygote() -> Zygote:
    return shared_zygote()


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of manifests of 12 + 4 spoken sentences."""
    from summarymixing_fairseq.data.synthesiser import speak

    folder = tmp_path_factory.mktemp("speech")
    rows = []
    for voice in VOICES:
        for number, text in enumerate(TEXTS):
            wave = speak(text, voice)
            soundfile.write(folder / f"{voice}_{number}.flac", wave, 16_000)
            rows.append(f"{voice}_{number}.flac\t{len(wave)}\n")
    (folder / "train.tsv").write_text(f"{folder}\n" + "".join(rows[:12]))
    (folder / "valid.tsv").write_text(f"{folder}\n" + "".join(rows[12:]))
    return folder


@pytest.fixture(scope="session")
def arguments(manifests: Path) -> Callable[..., list[str]]:
    """``arguments(save_dir, max_update, *overrides)`` of a tiny pre-training that saves at every update."""

    def build(save_dir: Path, max_update: int, *overrides: str) -> list[str]:
        settings = {
            "task.data": manifests,
            "checkpoint.save_dir": save_dir,
            "optimization.max_update": max_update,
            "checkpoint.save_interval_updates": 1,
            "checkpoint.keep_interval_updates": -1,
            "common.cpu": "true",
            "common.log_interval": 1,
            "dataset.num_workers": 0,
            "dataset.disable_validation": "true",
            "+task.quality": "false",  # a second a validation, which test_quality.py spends
        }
        given = [f"{name}={value}" for name, value in settings.items()]
        recipe = ["--config-dir", "examples/pretraining", "--config-name", RECIPES["pretraining"]]
        return [*recipe, *given, *TINY_MODEL, *overrides]

    return build


def load(path: Path) -> dict:
    """A checkpoint, whole or not at all."""
    return torch.load(path, weights_only=True)


def differences(first: object, second: object, name: str = "") -> list[str]:
    """Names of what is not the same bit for bit in two nested containers of tensors and numbers."""
    if isinstance(first, torch.Tensor):
        return [] if isinstance(second, torch.Tensor) and torch.equal(first, second) else [name]
    if isinstance(first, dict):
        if not isinstance(second, dict) or first.keys() != second.keys():
            return [name]
        return [found for key in first for found in differences(first[key], second[key], f"{name}.{key}")]
    if isinstance(first, (list, tuple)):
        if len(first) != len(second):
            return [name]
        pairs = enumerate(zip(first, second))
        return [found for number, (a, b) in pairs for found in differences(a, b, f"{name}.{number}")]
    return [] if first == second else [name]
