"""Conformer encoder (Gulati et al. 2020) with a mixer of choice, LayerNorm for BatchNorm, and no leak of padding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .feedforward import FeedForward, xavier_linear
from .kernels.compiling import compile_modules
from .kernels.depthwise import DepthwiseConv
from .kernels.dropout import Dropout
from .kernels.recompute import Linear, layer_norm, of_cheap, recomputes


def sinusoidal_positions(num_frames: int, dim: int, device: torch.device) -> Tensor:
    """Absolute sinusoidal positions (Vaswani et al. 2017, section 3.5), computed for any length.

    Returns:
        (num_frames, dim) float32.
    """
    steps = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    frequency = torch.exp(steps * (-math.log(10_000.0) / dim))
    angle = torch.arange(num_frames, device=device, dtype=torch.float32)[:, None] * frequency
    # (T, dim / 2) twice -> (T, dim): sine and cosine interleaved; an odd width drops the last cosine
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]


class ConvolutionModule(nn.Module):
    """LN, pointwise D -> 2D, GLU, depthwise over time, LN, Swish, pointwise D -> D, dropout.

    Padded frames are zeroed before the depthwise convolution: the end of a clip sees the same zeros in a padded batch
    as on its own.

    Raises:
        ValueError: for an even or negative kernel size.
    """

    def __init__(self, embed_dim: int, kernel_size: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.expand = xavier_linear(embed_dim, 2 * embed_dim)
        self.depthwise = DepthwiseConv(embed_dim, kernel_size)
        self.depthwise_norm = nn.LayerNorm(embed_dim)
        self.project = xavier_linear(embed_dim, embed_dim)
        self.dropout = Dropout(dropout)
        self.fast = True  # False: autograd's own backward pass, which keeps every activation

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        if self.fast and recomputes(x):
            norm, after = self.norm, self.depthwise_norm
            x = of_cheap(Linear, layer_norm, self.expand.weight, self.expand.bias, x, norm.weight, norm.bias)
            x = self.depthwise.of_cheap(_gate, x, padding_mask)
            x = of_cheap(Linear, _norm_swish, self.project.weight, self.project.bias, x, after.weight, after.bias)
            return self.dropout(x)
        x = self.depthwise(_gate(self.expand(self.norm(x)), padding_mask))
        return self.dropout(self.project(F.silu(self.depthwise_norm(x))))


def _gate(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """(B, T, 2D) -> (B, T, D): GLU, zero at padded frames."""
    x = F.glu(x, dim=-1)
    return x if padding_mask is None else x.masked_fill(padding_mask[..., None], 0.0)


def _norm_swish(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.silu(layer_norm(x, weight, bias))


class ConformerLayer(nn.Module):
    """x + FFN/2, + mixer(LN(x)), + convolution, + FFN/2, LN (arXiv 2407.13377, section 3; Gulati et al., equation 1).

    Args:
        mixer: (B, T, D), padding mask -> (B, T, D), as in ``modules.mixing``.
        checkpoint_activations: recompute the layer in the backward pass rather than store its activations.
    """

    def __init__(
        self,
        mixer: nn.Module,
        embed_dim: int,
        ffn_dim: int,
        kernel_size: int,
        dropout: float,
        activation_dropout: float,
        checkpoint_activations: bool = False,
    ):
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        self.embedding_dim = embed_dim  # fairseq's classification head asks for it by this name
        self.ffn1 = FeedForward(embed_dim, ffn_dim, dropout, activation_dropout)
        self.mixer_norm = nn.LayerNorm(embed_dim)
        self.mixer = mixer
        self.conv = ConvolutionModule(embed_dim, kernel_size, dropout)
        self.ffn2 = FeedForward(embed_dim, ffn_dim, dropout, activation_dropout)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        if self.checkpoint_activations and self.training:
            return checkpoint(self._forward, x, padding_mask, use_reentrant=False)
        return self._forward(x, padding_mask)

    def _forward(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        x = x + 0.5 * self.ffn1(x)
        x = x + self.mixer(self.mixer_norm(x), padding_mask)
        x = x + self.conv(x, padding_mask)
        return self.norm(x + 0.5 * self.ffn2(x))


class ConformerEncoder(nn.Module):
    """Positions, layers with LayerDrop (Fan et al. 2020), and one LayerNorm after the last.

    Args:
        build_layer: makes one layer; called ``num_layers`` times.
        layer_drop: probability that a layer is skipped in training.
        compile_layers: ``torch.compile`` the layers, at the first forward pass in training.
    """

    def __init__(
        self,
        build_layer: Callable[[], ConformerLayer],
        num_layers: int,
        embed_dim: int,
        layer_drop: float = 0.0,
        compile_layers: bool = False,
    ):
        super().__init__()
        self.layers = nn.ModuleList(build_layer() for _ in range(num_layers))
        self.layer_norm = nn.LayerNorm(embed_dim)
        self.layer_drop = layer_drop
        self._to_compile = compile_layers
        # where processes share out the layers' weights all must run each layer: a dropped one counts for nothing
        self.run_dropped_layers = False

    def fill_missing_gradients(self) -> None:
        """Give layers that LayerDrop left out of a whole update a gradient of zero, once the others have theirs.

        Several processes have that anyway, as one of them has not dropped the layer, or by fairseq's sum over all; on
        one, optimizers would skip the layer, and its moments and weight decay would come to differ.
        """
        parameters = [parameter for parameter in self.layers.parameters() if parameter.requires_grad]
        if self.layer_drop > 0 and any(parameter.grad is not None for parameter in parameters):
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)

    def forward(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        last_layer: int | None = None,
        keep_hidden_states: bool = True,
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode a padded batch.

        Args:
            x: (B, T, D), finite at padded frames too.
            padding_mask: (B, T) bool, True = padding, or None.
            last_layer: stop after this layer (from 0) and leave the final LayerNorm out.
            keep_hidden_states: False: return none, so that without gradients one layer's memory is enough.

        Returns:
            Output (B, T, D), and the hidden states before the final LayerNorm: the encoder's input (positions
            included), then each layer's output; a dropped layer repeats its input.

        Raises:
            ValueError: if there is no layer ``last_layer``.
        """
        if last_layer is not None and not 0 <= last_layer < len(self.layers):
            raise ValueError(f"layer={last_layer}: the encoder has layers 0 to {len(self.layers) - 1}")
        if self._to_compile and self.training:
            self._to_compile = False
            compile_modules(self.layers, x.device)
        x = x + sinusoidal_positions(x.size(1), x.size(2), x.device).to(x.dtype)
        hidden_states = [x] if keep_hidden_states else []
        keep = torch.ones(len(self.layers), dtype=torch.bool)
        if self.training:
            # torch's generator, which our tasks seed for each batch, so that a resumed run drops the same layers
            keep = torch.rand(len(self.layers)) >= self.layer_drop
        for layer, keep_layer in zip(self.layers[: None if last_layer is None else last_layer + 1], keep.tolist()):
            if keep_layer:
                x = layer(x, padding_mask)
            elif self.run_dropped_layers:
                # what its dropout draws must not change what is drawn after it
                with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
                    dropped = layer(x, padding_mask)
                nowhere = torch.zeros((), dtype=torch.bool, device=x.device)
                x = torch.where(nowhere, dropped, x)  # gradients of zero for the layer
            if keep_hidden_states:
                hidden_states.append(x)
        return (self.layer_norm(x) if last_layer is None else x), hidden_states
