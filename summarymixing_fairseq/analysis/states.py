"""Frames of a model by name: the latents, the encoder's input, and the output of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.reading import batches_by_length, normalise_waveform, pad_batch
from ..system.units import SAMPLE_RATE_HZ

BATCH_SECONDS = 60.0
LATENTS, INPUT = "latents", "input"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients during the block; each module has its own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def states_in_batches(
    model: Any, waves: Sequence[np.ndarray], normalize: bool = False
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Unmasked states of clips, in batches of clips of similar length. Call it within ``evaluating``.

    Args:
        model: a pre-training model of ours, or an ``Encoder`` out of a checkpoint (``load_model``).
        waves: (num_samples,) float32 at 16 kHz each, long enough for a frame.
        normalize: bring each waveform to mean 0 and variance 1; an ``Encoder`` knows itself whether to.

    Yields:
        positions in ``waves``, and by name (``latents``, ``input``, ``1``, ``2``, ...) the valid frames of these clips,
        one clip after the other, (frames, width).
    """
    device = next(model.parameters()).device
    for batch in batches_by_length([len(wave) for wave in waves], int(BATCH_SECONDS * SAMPLE_RATE_HZ)):
        source, padding_mask = pad_batch([waves[i] for i in batch], device)
        if hasattr(model, "latent_norm"):
            latents, states, frame_padding = _of_encoder(model, source, padding_mask)
        else:
            if normalize:
                source = normalise_waveform(source, padding_mask)
            output = model(source, padding_mask, mask=False, features_only=True)
            latents, states, frame_padding = output["features"], output["hidden_states"], output["padding_mask"]
        names = [LATENTS, INPUT, *map(str, range(1, len(states)))]
        valid = slice(None) if frame_padding is None else ~frame_padding.flatten()
        # (B, T, D) -> (B * T, D) -> (valid frames, D)
        yield batch, {name: state.flatten(0, 1)[valid] for name, state in zip(names, [latents, *states])}


def _of_encoder(encoder: Any, source: Tensor, padding_mask: Tensor) -> tuple[Tensor, list[Tensor], Tensor | None]:
    latents: list[Tensor] = []
    hook = encoder.latent_norm.register_forward_hook(lambda _module, _inputs, output: latents.append(output))
    try:
        states, frame_padding = encoder(source, padding_mask)
    finally:
        hook.remove()
    return latents[0], states, frame_padding
