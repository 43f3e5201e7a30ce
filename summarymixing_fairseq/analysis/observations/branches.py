"""``branches``: what SummaryMixing layers take from f and from s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...data.reading import pad_batch
from ..measures.branches import changed, of_another_clip, strength_of_summary, zero
from ..measures.robustness import similarity
from ..observed import Observed, mean_of_clips
from ..states import evaluating, states_of_batch
from .registry import Row, register_measure

BATCH_CLIPS = 4
CHANGES = {"without s": ("s", zero), "without f": ("f", zero), "s of another clip": ("s", of_another_clip)}


@register_measure("branches", "strength of f and s, and the layer's output without one of them", needs=("branches",))
def branches(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """For each layer with both: ``strength of s``, and the mean cosine of its output with that after each change."""
    encoder = observed.encoder
    modules = encoder.branches()
    layers = [place for place in places if f"{place}.f" in modules and f"{place}.s" in modules]
    wanted = [place for layer in layers for place in (layer, f"{layer}.f", f"{layer}.s")]
    means = {layer: observed.states.frames(layer).double().mean(0) for layer in layers}
    rows = list(observed.waves)
    groups = [observed.group_of_clips()[row] for row in rows]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with evaluating(encoder):
        # no batch of one clip, which has no other, if there are two
        for batch in np.array_split(rows, max(1, len(rows) // BATCH_CLIPS)):
            waves = [observed.waves[row] for row in batch]
            source, padding_mask = pad_batch(waves, next(encoder.parameters()).device)
            num_frames = encoder.output_lengths(torch.tensor([len(wave) for wave in waves])).tolist()
            others: dict[tuple[str, str], Tensor] = {}
            with ExitStack() as hooks:
                for layer in layers:
                    hooks.enter_context(_once_more(encoder, layer, len(waves), others))
                states = states_of_batch(encoder, source, padding_mask, wanted)
            intact = {place: of_place.cpu().split(num_frames) for place, of_place in states.items()}
            for layer in layers:
                mixer = modules[f"{layer}.mixer"]
                if hasattr(mixer, "combiner"):
                    weight, share = mixer.combiner.weight.cpu(), mixer.summary_share()
                    share = 0.5 if share is None else share
                    found[layer, "strength of s"] += [
                        strength_of_summary((1 - share) * f, share * s, weight)
                        for f, s in zip(intact[f"{layer}.f"], intact[f"{layer}.s"])
                    ]
            for (layer, name), other in others.items():
                clips = [clip[:frames] for clip, frames in zip(other.cpu(), num_frames)]
                pairs = zip(intact[layer], clips)
                found[layer, name] += [similarity(one, two, means[layer]) for one, two in pairs]
    for (layer, name), values in found.items():
        yield Row(layer, name, mean_of_clips(values, groups))


@contextmanager
def _once_more(encoder: Any, layer: str, num_clips: int, outputs: dict[tuple[str, str], Tensor]) -> Iterator[None]:
    """Within the block, a layer that has run runs again with each change, on the same input. What it put out at first
    goes to the next layer.

    Args:
        outputs: gets what the layer puts out, (B, T, D), by layer and change.
    """
    modules = encoder.branches()

    def hook(module: nn.Module, inputs: Any, named: Any, _output: Tensor) -> None:
        for name, (branch, change) in CHANGES.items():
            if change is of_another_clip and num_clips < 2:
                continue
            with changed(modules[f"{layer}.{branch}"], change):
                outputs[layer, name] = module.forward(*inputs, **named)  # not by a call, which would come here again

    handle = encoder.layers[int(layer) - 1].register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
