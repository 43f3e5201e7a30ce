"""SummaryMixing with a third branch, the summary of the frames around (arXiv 2602.09043)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...system.options import MAX_WIDTH, option
from ..precision import LayerNorm
from .heads import HeadOptions
from .registry import register_mixer
from .summarymixing import ACTIVATIONS, SummaryMixing, SummaryMixingOptions, by_frame


@dataclass
class WindowedOptions(HeadOptions):
    """Options of ``windowed_summarymixing``."""

    num_heads: int = option(
        8,
        "diagonal blocks of the cell's layers; they divide the width",
        low=1,
        high=MAX_WIDTH,
        model_field="summary_heads",
    )
    activation: str = option(
        "gelu", "activation of the cell", choices=tuple(ACTIVATIONS), model_field="summary_activation"
    )
    window: int = option(25, "frames on each side that the third branch hears", low=1, high=1_000_000)


def windowed_mean(x: Tensor, padding_mask: Tensor | None, reach: int) -> Tensor:
    """Mean of the valid frames from t - reach to t + reach, at every frame t.

    Args:
        x: (B, T, S); padding_mask: (B, T) bool, True = padding, or None.

    Returns:
        (B, T, S) in the dtype of ``x``, accumulated in float32; zeros where no frame is valid.
    """
    valid = torch.ones_like(x[..., :1]) if padding_mask is None else (~padding_mask)[..., None].to(x.dtype)
    if padding_mask is not None:
        x = x.masked_fill(padding_mask[..., None], 0.0)
    with torch.autocast(x.device.type, enabled=False):
        accumulate = torch.promote_types(x.dtype, torch.float32)
        count = _windowed_sum(valid.to(accumulate), reach).clamp(min=1)
        return (_windowed_sum(x.to(accumulate), reach) / count).to(x.dtype)


def _windowed_sum(x: Tensor, reach: int) -> Tensor:
    """Sums over 2 reach + 1 frames, of sums that start anew as often: (B, T, S) -> (B, T, S)."""
    T, length = x.size(1), 2 * reach + 1
    num_blocks = (T - 1) // length + 2
    # place t of the blocks is frame t - reach: the window of frame t is the places from t to t + length - 1
    blocks = F.pad(x, (0, 0, reach, num_blocks * length - T - reach)).unflatten(1, (num_blocks, length))
    up_to = blocks.cumsum(2)
    before = up_to - blocks
    to_the_end = (up_to[:, :, -1:] - before).flatten(1, 2)[:, :T]  # of the block of place t
    return to_the_end + before.flatten(1, 2)[:, length : length + T]  # and the beginning of the next


@register_mixer("windowed_summarymixing", WindowedOptions)
class WindowedSummaryMixing(SummaryMixing):
    """SummaryMixing that also hears the mean of the frames around (Windowed SummaryMixing, arXiv 2602.09043).

        y_t = act(W_c dropout([f_t ; s ; w_t]) + b_c);  w_t = LN_w(mean over valid u, |t - u| <= window, of MLP_s(x_u))

    f and s are those of ``summarymixing``. The mean is over the frames that are there, at the ends of a clip too. Time
    and memory grow with T, whatever the window; a clip shorter than 4 windows costs as much as one of 4. The default
    window, half a second on each side, is ours.
    """

    num_summaries = 2
    branches = {**SummaryMixing.branches, "w": "window_norm"}

    def __init__(self, options: WindowedOptions, embed_dim: int, dropout: float):
        cell = SummaryMixingOptions(num_heads=options.num_heads, activation=options.activation)
        super().__init__(cell, embed_dim, dropout)
        self.window = options.window
        self.window_norm = LayerNorm(embed_dim)

    def _summarise(self, values: Tensor, padding_mask: Tensor | None) -> list[Tensor]:
        """MLP_s of every frame, (heads, B, T, S / heads) -> [s, w]: (B, 1, S), (B, T, S)."""
        around = self.window_norm(windowed_mean(by_frame(values), padding_mask, self.window))
        return [*super()._summarise(values, padding_mask), around]
