"""Frames of a model by name: the latents, the encoder's input, and the output of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.reading import batches_by_length, pad_batch
from ..modules.normalise import normalise_waveform
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
    """Unmasked states of a pre-training model of ours, in batches of clips of similar length. Call it within
    ``evaluating``.

    Args:
        waves: (num_samples,) float32 at 16 kHz each, long enough for a frame.
        normalize: bring each waveform to mean 0 and variance 1.

    Yields:
        positions in ``waves``, and by name (``latents``, ``input``, ``1``, ``2``, ...) the valid frames of these clips,
        one clip after the other, (frames, width).
    """
    device = next(model.parameters()).device
    for batch in batches_by_length([len(wave) for wave in waves], int(BATCH_SECONDS * SAMPLE_RATE_HZ)):
        source, padding_mask = pad_batch([waves[i] for i in batch], device)
        if normalize:
            source = normalise_waveform(source, padding_mask)
        output = model(source, padding_mask, mask=False, features_only=True)
        states = [output["features"], *output["hidden_states"]]
        names = [LATENTS, *state_names(len(states) - 2)]
        yield batch, {name: _valid(state, output["padding_mask"]) for name, state in zip(names, states)}


def state_names(num_layers: int) -> list[str]:
    """Of an encoder's hidden states: ``input``, ``1``, ``2``, ..."""
    return [INPUT, *map(str, range(1, num_layers + 1))]


def states_of_batch(
    encoder: Any, source: Tensor, padding_mask: Tensor | None, places: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """States of a padded batch at some places of an ``Encoder``. Call it within ``evaluating``.

    Args:
        source: (B, num_samples); padding_mask: (B, num_samples) bool, True = padding, or None.
        places: of ``places_of``; None: ``latents`` and the hidden states.

    Returns:
        by place the valid frames, one clip after the other, (frames, width), in the order of ``places``.
    """
    places = [LATENTS, *state_names(encoder.num_layers)] if places is None else places
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output

        return hook

    modules = {LATENTS: encoder.latent_norm, **encoder.branches()}
    with ExitStack() as hooks:
        for name in places:
            if name in modules:
                hooks.callback(modules[name].register_forward_hook(keep(name)).remove)
        states, frame_padding = encoder(source, padding_mask)
    found = dict(zip(state_names(encoder.num_layers), states))
    for name, output in outputs.items():
        if output.dim() == 2:  # one vector a clip: every frame has it
            output = output[:, None]
        elif encoder.time_first and name != LATENTS:
            output = output.transpose(0, 1)  # (T, B, D) -> (B, T, D)
        found[name] = output.expand(-1, states[0].size(1), -1)  # (B, 1 or T, D) -> (B, T, D)
    return {name: _valid(found[name], frame_padding) for name in places}


def states_of_wave(encoder: Any, wave: np.ndarray, places: Sequence[str]) -> dict[str, Tensor]:
    """``states_of_batch`` of one clip, (num_samples,) at 16 kHz."""
    return states_of_batch(encoder, torch.from_numpy(wave)[None].to(next(encoder.parameters()).device), None, places)


def places_of(encoder: Any) -> list[str]:
    """Everything that ``states_of_batch`` can give: latents, hidden states, and what branches put out."""
    return [LATENTS, *state_names(encoder.num_layers), *encoder.branches()]


def _valid(state: Tensor, frame_padding: Tensor | None) -> Tensor:
    """(B, T, D) -> (valid frames, D)."""
    return state.flatten(0, 1) if frame_padding is None else state[~frame_padding]
