"""SummaryMixing: frames mixed through one summary vector, in time linear in their number (arXiv 2307.07421)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, Refused, option, width_option
from ..chunks import Chunks
from ..decay import decayed_mean
from ..feedforward import xavier_linear
from ..kernels.block_mlp import block_mlp, is_fused
from ..kernels.recompute import dropout, made_again
from ..precision import LayerNorm, cast
from .blocks import blocks_of
from .registry import MixerOptions, register_mixer


def _unchanged(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(made_again, F.gelu),
    "relu": F.relu,  # stores its result, which the product after it stores anyway, and not its input
    "swish": partial(made_again, F.silu),
    "none": _unchanged,  # to see what activations are worth
}
MODES = ("full", "lite", "expdecay", "local", "global", "sum")
# What the forms have of the cell.
WITH_LOCAL = ("full", "expdecay", "local", "sum")
WITH_SUMMARY = ("full", "lite", "expdecay", "global", "sum")
WITH_BOTH = tuple(mode for mode in WITH_LOCAL if mode in WITH_SUMMARY)
WITH_COMBINER = ("full", "expdecay", "local", "global")
# Weight of a frame |t - u| frames away in the expdecay form: 0.995^|t - u|.
DECAY = 0.995
# Adam moves a number by about its learning rate an update: by this a gate can open or close within a few hundred.
GATE_SCALE = 10.0

_width = partial(width_option, standing_for="encoder_embed_dim")


@dataclass
class SummaryMixingOptions(MixerOptions):
    """Options of ``summarymixing``."""

    mode: str = option(
        "full",
        "full; lite: the summary alone; expdecay: a mean that decays by 0.995 a frame; local, global, sum: without "
        "summary, local branch or combiner",
        choices=MODES,
        model_field="summary_mode",
    )
    num_heads: int = option(
        8,
        "diagonal blocks of the cell's layers; they divide its widths",
        low=1,
        high=MAX_WIDTH,
        model_field="summary_heads",
    )
    local_hidden_dim: int = _width("hidden width of the local branch", model_field="local_hidden_dim")
    local_out_dim: int = _width("output width of the local branch", model_field="local_out_dim")
    summary_hidden_dim: int = _width("hidden width of the summary branch", model_field="summary_hidden_dim")
    summary_out_dim: int = _width("output width of the summary branch", model_field="summary_out_dim")
    layer_norm: bool = option(True, "LayerNorm after both branches", model_field="summary_layer_norm")
    activation: str = option(
        "gelu", "activation of the cell", choices=tuple(ACTIVATIONS), model_field="summary_activation"
    )
    gate: bool = option(False, "a learned number weighs local branch and summary", model_field="summary_gate")

    def check(self, embed_dim: int) -> None:
        """Raises Refused for heads that do not divide a width, another width of a branch that no combiner follows, and
        a gate with one branch only."""
        if embed_dim % self.num_heads:
            raise Refused("num_heads", self.num_heads, f"must divide encoder_embed_dim={embed_dim}")
        local = ("local_hidden_dim", "local_out_dim") if self.mode in WITH_LOCAL else ()
        summary = ("summary_hidden_dim", "summary_out_dim") if self.mode in WITH_SUMMARY else ()
        for name in (*local, *summary):
            width = getattr(self, name) or embed_dim
            if width % self.num_heads:
                raise Refused(name, width, f"must be a multiple of the {self.num_heads} heads")
            if width != embed_dim and name.endswith("out_dim") and self.mode not in WITH_COMBINER:
                raise Refused(name, width, f"in mode {self.mode} it must be encoder_embed_dim={embed_dim}")
        if self.gate and self.mode not in WITH_BOTH:
            raise Refused("gate", True, f"mode {self.mode} has one branch only")

    def streams(self) -> bool:
        """All but the mean that decays to both sides."""
        return self.mode != "expdecay"


def by_head(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, D) -> (heads, B * T, D / heads), what block-diagonal layers take."""
    return x.reshape(-1, num_heads, x.size(-1) // num_heads).transpose(0, 1).contiguous()


def by_frame(x: Tensor) -> Tensor:
    """(heads, B, T, L / heads) -> (B, T, L)."""
    return x.permute(1, 2, 0, 3).flatten(2)


class BlockDiagonalLinear(nn.Module):
    """Linear layer of ``num_heads`` diagonal blocks: head h maps its own slice of the input to its own of the output.

    Frames go in and out head by head, (heads, N, dim / heads): one batched product, and nothing is transposed between
    two such layers. The heads divide both widths.
    """

    def __init__(self, in_dim: int, out_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.weight = nn.Parameter(torch.empty(num_heads, in_dim // num_heads, out_dim // num_heads))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        # Xavier's bound of a block
        bound = math.sqrt(3.0) * math.sqrt(2.0 * num_heads / (in_dim + out_dim))
        nn.init.uniform_(self.weight, -bound, bound)

    def reset_parameters(self) -> None:
        """Start as torch's layers do, by its formula for a tensor of these three dimensions.

        torch takes the product of all but the first for the number of inputs: weights are uniform within
        +- 1 / sqrt(inputs x outputs of a block), 1/96 at a width of 768 in 8 heads, and not within +- 1 / sqrt(inputs)
        as in a linear layer. Biases are, 0.10 there.
        """
        _, inputs, outputs = self.weight.shape
        nn.init.uniform_(self.weight, -((inputs * outputs) ** -0.5), (inputs * outputs) ** -0.5)
        nn.init.uniform_(self.bias, -(inputs**-0.5), inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(heads, N, in_dim / heads) -> (heads, N, out_dim / heads)."""
        bias = cast(self.bias, x.dtype).view(self.num_heads, 1, -1)
        return torch.baddbmm(bias, x, cast(self.weight, x.dtype))


class HeadMLP(nn.Module):
    """Two block-diagonal layers, the activation after both: MLP_f and MLP_s of the cell."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_heads: int, activation: str):
        super().__init__()
        self.inner = BlockDiagonalLinear(in_dim, hidden_dim, num_heads)
        self.outer = BlockDiagonalLinear(hidden_dim, out_dim, num_heads)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(heads, N, in_dim / heads) -> (heads, N, out_dim / heads)."""
        activation = ACTIVATIONS[self.activation]
        return activation(self.outer(activation(self.inner(x))))

    def is_fused(self, x: Tensor) -> bool:
        """Whether ``fused`` takes these frames: on a GPU, in half precision."""
        return is_fused(x, *self.inner.weight.shape[1:], self.outer.weight.size(2))

    def fused(self, x: Tensor) -> Tensor:
        """The same in one kernel: (B, T, in_dim) -> (B, T, out_dim)."""
        inner, outer = self.inner, self.outer
        weights = [cast(weight, x.dtype) for weight in (inner.weight, inner.bias, outer.weight, outer.bias)]
        return block_mlp(x, weights[0], weights[1], weights[2], weights[3], self.activation)


def masked_time_mean(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Mean over the valid frames of each utterance, accumulated in float32 however long the clip.

    Args:
        x: (..., B, T, D); padding_mask: (B, T) bool, True = padding, or None.

    Returns:
        (..., B, D) in the dtype of ``x``; zeros for an utterance without a valid frame.
    """
    accumulate = torch.promote_types(x.dtype, torch.float32)
    if padding_mask is None:
        return (x.sum(-2, dtype=accumulate) / x.size(-2)).to(x.dtype)
    count = (~padding_mask).sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    total = x.masked_fill(padding_mask[..., None], 0.0).sum(-2, dtype=accumulate)
    return (total / count).to(x.dtype)


def mean_up_to_chunk(x: Tensor, padding_mask: Tensor | None, size: int) -> Tensor:
    """Mean of the valid frames from the first to the last of each chunk, accumulated in float32.

    Args:
        x: (B, T, S); padding_mask: (B, T) bool, True = padding, or None; size: frames of a chunk.

    Returns:
        (B, chunks, S) in the dtype of ``x``; zeros where no frame is valid.
    """
    valid = torch.ones_like(x[..., 0], dtype=torch.bool) if padding_mask is None else ~padding_mask
    accumulate = torch.promote_types(x.dtype, torch.float32)
    x = x if padding_mask is None else x.masked_fill(padding_mask[..., None], 0.0)
    sums = blocks_of(x, size, least=1).sum(2, dtype=accumulate)
    count = blocks_of(valid, size, least=1).sum(2).cumsum(1).clamp(min=1)  # (B, chunks)
    return (sums.cumsum(1) / count[..., None]).to(x.dtype)


@register_mixer("summarymixing", SummaryMixingOptions)
class SummaryMixing(nn.Module):
    """The SummaryMixing cell (arXiv 2407.13377, section 2; arXiv 2307.07421, equations 2 to 4).

        f_t = LN_f(MLP_f(x_t));  s = LN_s(mean over valid t of MLP_s(x_t));  y_t = GELU(W_c dropout([f_t ; s]) + b_c)

    W_c is applied in its two halves, so that the half for s is computed once an utterance rather than at every
    frame. Deviation from the formula: for the same reason dropout draws one mask of s per utterance, not per frame.

    Modes: "lite": y_t = s, no local branch and no combiner; "expdecay": the mean at frame t weighs frame u by
    0.995^|t - u|. To see what the parts are worth: "local" is without s, "global" without f, and "sum" without the
    combiner, y_t = dropout(f_t) + dropout(s).

    With a gate f counts 2 (1 - g) times and s 2 g, where g = sigmoid(``GATE_SCALE`` x ``gate_logit``) is 1/2 at first.
    It says how training shifts the balance of the two; ours, not the paper's.
    """

    num_summaries = 1  # that the combiner hears beside the local branch
    branches = {"f": "local_norm", "s": "summary_norm"}  # parts to look at, and the modules that give them

    def __init__(self, options: SummaryMixingOptions, embed_dim: int, dropout: float):
        super().__init__()
        self.mode = options.mode
        self.num_heads = options.num_heads
        self.activation = ACTIVATIONS[options.activation]
        norm = LayerNorm if options.layer_norm else nn.Identity
        self.gate_logit = nn.Parameter(torch.zeros(())) if options.gate else None
        form = options.num_heads, options.activation
        width = 0  # of what the combiner takes
        if self.mode in WITH_SUMMARY:
            hidden, out = options.summary_hidden_dim or embed_dim, options.summary_out_dim or embed_dim
            self.summary = HeadMLP(embed_dim, hidden, out, *form)
            self.summary_norm = norm(out)
            width += self.num_summaries * out
        if self.mode in WITH_LOCAL:
            hidden, out = options.local_hidden_dim or embed_dim, options.local_out_dim or embed_dim
            self.local = HeadMLP(embed_dim, hidden, out, *form)
            self.local_norm = norm(out)
            width += out
        self.dropout = nn.Dropout(dropout)
        if self.mode in WITH_COMBINER:
            self.combiner = xavier_linear(width, embed_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D). With ``chunks`` s is of all up to the end of each."""
        branch = self._branches(x)
        summaries: list[Tensor] = []
        if self.mode in WITH_SUMMARY:
            values = branch(self.summary)
            if chunks is None:
                summaries = self._summarise(values, padding_mask)  # (B, 1 or T, S) each
            else:
                means = mean_up_to_chunk(by_frame(values), padding_mask, chunks.size)  # (B, chunks, S)
                return self._combined(x, branch, [self.summary_norm(means)], chunks.size)
        return self._combined(x, branch, summaries)

    def first_state(self, batch: int, left: int) -> list[Tensor]:
        """What is remembered before the first frame: the sum of MLP_s, (B, S) float32, where there is a summary."""
        if self.mode not in WITH_SUMMARY:
            return []
        outputs = self.summary.outer.bias
        return [outputs.new_zeros((batch, len(outputs)), dtype=torch.promote_types(outputs.dtype, torch.float32))]

    def step(self, x: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk: see ``ChunkedAttention.step``."""
        branch = self._branches(x)
        if self.mode not in WITH_SUMMARY:
            return self._combined(x, branch, []), []
        total = state[0] + by_frame(branch(self.summary)).sum(1, dtype=state[0].dtype)
        mean = (total / (heard + x.size(1))).to(x.dtype)
        return self._combined(x, branch, [self.summary_norm(mean)[:, None]]), [total]

    def _combined(
        self, x: Tensor, branch: Callable[[HeadMLP], Tensor], summaries: list[Tensor], size: int = 0
    ) -> Tensor:
        """What the cell makes of frames (B, T, D) and summaries: (B, T, D).

        Args:
            summaries: (B, 1 or T, S) each; size: of the chunks where they are (B, chunks, S).
        """
        B, T, D = x.shape

        def by_frames(y: Tensor) -> Tensor:
            return y.repeat_interleave(size, 1)[:, :T] if size else y

        if self.mode == "lite":
            return by_frames(summaries[0]).expand(B, T, D)
        parts = []
        if self.mode in WITH_LOCAL:
            local = made_again(by_frame, branch(self.local))
            parts.append(dropout(self.local_norm(local), self.dropout))
        parts += [dropout(summary, self.dropout) for summary in summaries]
        if self.gate_logit is not None:
            share = torch.sigmoid(GATE_SCALE * self.gate_logit).to(x.dtype)  # of the summary
            parts = [2 * (1 - share) * parts[0], *(2 * share * part for part in parts[1:])]
        if self.mode == "sum":
            return parts[0] + by_frames(parts[1])
        # W_c [f ; s] = W_f f + W_s s, and W_s s is the same for all frames of an utterance.
        weight, bias = cast(self.combiner.weight, x.dtype), cast(self.combiner.bias, x.dtype)
        weights = weight.split([part.size(-1) for part in parts], dim=1)
        # the bias is added to the first summary, which has fewer frames
        with_bias = min(1, len(parts) - 1)
        y = [F.linear(part, w, bias if i == with_bias else None) for i, (part, w) in enumerate(zip(parts, weights))]
        num_local = len(y) - len(summaries)
        y = [*y[:num_local], *map(by_frames, y[num_local:])]
        return self.activation(reduce(torch.add, y)).expand(B, T, D)

    def summary_share(self) -> float | None:
        """The learned g of ``gate``: how much of the cell is the summary, 0 to 1; None without a gate."""
        return None if self.gate_logit is None else float(torch.sigmoid(GATE_SCALE * self.gate_logit.detach()))

    def _branches(self, x: Tensor) -> Callable[[HeadMLP], Tensor]:
        """What an MLP makes of the frames: (heads, B, T, L / heads), or where it is fused (1, B, T, L)."""
        mlps = [mlp for mlp in self.children() if isinstance(mlp, HeadMLP)]
        if all(mlp.is_fused(x) for mlp in mlps):
            return lambda mlp: mlp.fused(x)[None]
        frames = made_again(partial(by_head, num_heads=self.num_heads), x)
        return lambda mlp: mlp(frames).unflatten(1, x.shape[:2])

    def _summarise(self, values: Tensor, padding_mask: Tensor | None) -> list[Tensor]:
        """MLP_s of every frame, (heads, B, T, S / heads) -> [s], (B, 1, S), or (B, T, S) in mode "expdecay"."""
        if self.mode == "expdecay":
            return [self.summary_norm(decayed_mean(by_frame(values), padding_mask, DECAY))]
        mean = masked_time_mean(values, padding_mask)  # (heads, B, S / heads)
        return [self.summary_norm(mean.transpose(0, 1).flatten(1))[:, None]]  # -> (B, S) -> (B, 1, S)
