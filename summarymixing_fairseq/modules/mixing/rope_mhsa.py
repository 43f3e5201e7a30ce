"""Self-attention with rotary positions, the strong form of attention's twin."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..kernels.recompute import made_again
from ..positions import position_angles
from .attention import MultiHeadSelfAttention
from .chunked_attention import ChunkedAttention
from .heads import HeadOptions
from .registry import register_mixer


class RotaryOptions(HeadOptions):
    """Options of ``rope_mhsa``."""

    def streams(self) -> bool:
        """Yes."""
        return True


def _rotate(x: Tensor, first: int = 0) -> Tensor:
    """Turn channels i and i + d // 2 of frame t by the angle t / 10000^(2i / d). (..., T, d) -> (..., T, d).

    The last channel of an odd width stays as it is; ``first``: t of the first frame.
    """
    T, dim = x.shape[-2:]
    half = dim // 2
    frames = torch.arange(first, first + T, device=x.device, dtype=torch.float32)
    angle = position_angles(frames, dim)[:, :half]  # (T, d // 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x.split([half, half, dim - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)


@register_mixer("rope_mhsa", RotaryOptions)
class RotarySelfAttention(ChunkedAttention, MultiHeadSelfAttention):
    """Self-attention whose queries and keys are rotated by their positions (RoFormer, arXiv 2104.09864, equation 16).

        score(t, u) = (R_t q_t)' (R_u k_u) / sqrt(d) = q_t' R_(u - t) k_u / sqrt(d)

    R_t turns d / 2 planes by the angles t / 10000^(2i / d), computed for the length that comes. Time grows with T²,
    memory with T, as in ``mhsa``. Deviation from the paper: a plane is the channels i and i + d / 2 of a head, not 2i
    and 2i + 1, which is another order of the projections' rows.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        return super().attend(self.positioned(q, 0), self.positioned(k, 0), v, padding_mask)

    def positioned(self, x: Tensor, first: int) -> Tensor:
        """See ``ChunkedAttention``."""
        return made_again(partial(_rotate, first=first), x)
