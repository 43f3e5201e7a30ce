"""Encoder inference in one pass, from seconds to an hour."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import SAMPLE_RATE_HZ, add_config
from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "encoder inference in one pass, from 10 s to 1 h"
REFERENCE = "summarymixing"
SIZE_UNIT = "s of audio"
KEEP_FREED_MEMORY = False  # as outside of training
HOLD = False  # each pass has a process and so a peak of its own
WARM_UP_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe and lengths."""
    add_config(parser)
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[10, 60, 300, 600, 1800, 3600], help="lengths of the audio"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of weights and encoder")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {"config": str(args.config), "precision": args.precision}


def sizes(args: argparse.Namespace) -> list[float]:
    """Seconds."""
    return args.seconds


def contenders(settings: dict[str, Any]) -> list[str]:
    """Every registered mixer."""
    from ..modules.mixing import MIXERS

    return [REFERENCE, *sorted(set(MIXERS) - {REFERENCE})]


def build(contender: str, size: float, settings: dict[str, Any], device: torch.device) -> Step:
    """Waveform to the encoder's output, no gradient, batch of one."""
    import torch

    from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
    from .recipe import read_recipe

    cfg = read_recipe(Path(settings["config"]), ["task.data=.", f"model.mixer={contender}"])
    model = Wav2Vec2SummaryMixingModel(cfg.model)
    model.remove_pretraining_modules()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings["precision"]]
    model = model.to(device, dtype).eval()

    def encode(seconds: float) -> None:
        with torch.no_grad():
            source = 0.1 * torch.randn(1, round(seconds * SAMPLE_RATE_HZ), device=device)
            model.extract_features(source, None, keep_hidden_states=False)

    return Step(lambda: encode(size), lambda: encode(WARM_UP_SECONDS))
