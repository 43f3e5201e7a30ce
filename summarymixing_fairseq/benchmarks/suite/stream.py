"""One step of a streaming model: what a chunk of audio takes, whatever came before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ..benchmark import Benchmark, Step, add_config, add_sizes, mixer_names, of_mixer

REFERENCE = "summarymixing"
FRAME_MS = 20
CHUNKS_BEFORE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipe and lengths of chunks."""
    add_config(parser)
    add_sizes(parser, "--chunk-ms", int, [160, 320, 640], "lengths of a chunk, multiples of a frame's 20 ms")


def contenders() -> list[str]:
    """Mixers that stream with their default options."""
    from ...modules.mixing import OPTIONS

    return [name for name in mixer_names(REFERENCE) if OPTIONS[name]().streams()]


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """From a chunk of the waveform to the encoder's output, for a batch of one stream that has begun."""
    import torch

    from ...models.stream import StreamStep
    from ...models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
    from ..recipe import read_recipe

    if size < FRAME_MS or size % FRAME_MS:
        raise InputError(f"--chunk-ms {size:g}: must be a multiple of {FRAME_MS}")
    cfg = read_recipe(Path(settings["config"]), ["task.data=.", "model.streaming=true", *of_mixer(contender)])
    model = Wav2Vec2SummaryMixingModel(cfg.model).to(device).eval()
    step, frontend = StreamStep(model), model.feature_extractor
    num_frames = round(size / FRAME_MS)
    waveform = 0.1 * torch.randn(1, frontend.min_samples(num_frames), device=device)
    state: list[torch.Tensor] = step.first_state()

    def run(heard: int = CHUNKS_BEFORE * num_frames) -> None:
        with torch.inference_mode():
            _, *after = step(waveform, torch.tensor(heard, device=device), *state)
            state[:] = after

    for number in range(CHUNKS_BEFORE):
        run(number * num_frames)
    return Step(run)


HELP = "one step of a streaming model, by length of its chunk"
# freed memory is not kept, as everywhere but in training
BENCHMARK = Benchmark(HELP, REFERENCE, "ms of audio", add_arguments, contenders, build, keep_freed_memory=False)
