"""Encoder inference in one pass, from seconds to an hour of audio."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ...system.units import SAMPLE_RATE_HZ
from ..benchmark import Benchmark, Step, add_config, add_sizes, mixer_names, of_mixer

REFERENCE = "summarymixing"
WARM_UP_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipe, lengths and precision."""
    add_config(parser)
    add_sizes(parser, "--seconds", float, [10, 60, 300, 600, 1800, 3600], "lengths of the audio")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of weights and encoder")


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """From the waveform to the encoder's output, without gradients, for a batch of one clip."""
    import torch

    from ...models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
    from ..recipe import read_recipe

    cfg = read_recipe(Path(settings["config"]), ["task.data=.", *of_mixer(contender)])
    model = Wav2Vec2SummaryMixingModel(cfg.model)
    model.remove_pretraining_modules()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings["precision"]]
    model = model.to(device, dtype).eval()

    def encode(seconds: float) -> None:
        with torch.no_grad():
            source = 0.1 * torch.randn(1, round(seconds * SAMPLE_RATE_HZ), device=device)
            model.extract_features(source, None, keep_hidden_states=False)

    return Step(partial(encode, size), partial(encode, WARM_UP_SECONDS))


contenders = partial(mixer_names, REFERENCE)
HELP = "encoder inference in one pass, from 10 s to 1 h"
# freed memory is not kept, as everywhere but in training
BENCHMARK = Benchmark(
    HELP, REFERENCE, "s of audio", add_arguments, contenders, build, hold=False, keep_freed_memory=False
)
