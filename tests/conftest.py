"""Fixtures of all tests: seeds that leave no trace, real speech, a configuration small enough for a CPU."""

from __future__ import annotations

import gc
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import numpy as np


def pytest_collection() -> None:
    """Set up torch, fairseq and hydra, in a process that runs tests: not in one that hands them to its workers."""
    import torch
    from zygote import quicken_hydra

    import summarymixing_fairseq

    summarymixing_fairseq.register()
    quicken_hydra()
    # tensors of the tests are tiny: a second thread costs more than it saves, much more on a busy machine
    torch.set_num_threads(1)
    # how long torch waits for each data worker of a loader that a collection of cycles ends: it misses the word to end
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.5


def pytest_collection_finish() -> None:
    """Keep what is imported out of every garbage collection to come, and of the pages that a fork copies."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Seed torch, numpy and random, and give each its state back afterwards."""
    import numpy as np
    import torch

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


@pytest.fixture(scope="session")
def speech() -> list[np.ndarray]:
    """Four spoken sentences, 16 kHz float32, each of another length (0.8 to 3.5 s) and voice."""
    from summarymixing_fairseq.data.synthesiser import speak

    return [
        speak("The summary of an utterance is one vector, whatever its length.", "en-us"),
        speak("Mae hen wlad fy nhadau yn annwyl i mi.", "cy+f2"),
        speak("Ein kurzer Satz, leise gesprochen.", "de+m3", pitch=30),
        speak("Bai, jakina.", "eu"),
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """``small_disk(num_bytes)``: an empty file system of that size; skips where this user may not mount one."""
    mounted: list[Path] = []

    def mount(num_bytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a file system can be mounted by root only")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def tiny_config() -> Callable:
    """``tiny_config(**overrides)``: a pre-training configuration of two layers of 32."""
    from summarymixing_fairseq.models.config import Wav2Vec2SummaryMixingConfig

    def build(**overrides) -> Wav2Vec2SummaryMixingConfig:
        sizes = {
            "encoder_layers": 2,
            "encoder_embed_dim": 32,
            "encoder_ffn_embed_dim": 64,
            "encoder_attention_heads": 4,
            "summary_heads": 4,
            "depthwise_conv_kernel_size": 7,
            "frontend_channels": 24,
            "latent_vars": 20,
            "final_dim": 16,
            "num_negatives": 10,
            "quantize_targets": True,
        }
        return Wav2Vec2SummaryMixingConfig(**{**sizes, **overrides})

    return build


@pytest.fixture(scope="session")
def tiny_model(tiny_config) -> Callable:
    """``tiny_model(**overrides)``: that model in eval mode, its norms and biases away from their start."""
    import torch

    from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel

    def build(**overrides) -> Wav2Vec2SummaryMixingModel:
        model = Wav2Vec2SummaryMixingModel(tiny_config(**overrides)).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter.data, mean=0.3, std=0.3)
        return model

    return build


@pytest.fixture(scope="session")
def toned(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned checkpoint that spells the sounds of ``toned.spoken``, nearly without an error."""
    return _toned(tiny_config, tmp_path_factory.mktemp("toned") / "toned.pt")


@pytest.fixture(scope="session")
def toned_stream(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by a model that streams."""
    return _toned(tiny_config, tmp_path_factory.mktemp("toned") / "stream.pt", streaming=True)


def _toned(tiny_config: Callable[..., Any], path: Path, **fields: Any) -> Path:
    import torch
    from toned import save_toned

    from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel

    torch.manual_seed(7)
    sizes = {"encoder_embed_dim": 256, "encoder_ffn_embed_dim": 128, "frontend_channels": 96}
    config = tiny_config(encoder_layers=1, **sizes, **fields)
    return save_toned(path, Wav2Vec2SummaryMixingModel(config).eval())
