"""Conformer encoder (Gulati et al. 2020) with any mixer, LayerNorm instead of BatchNorm, and padding without effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunks import ChunkDraws, Chunks
from .feedforward import FeedForward, xavier_linear
from .kernels.compiling import compile_modules
from .kernels.depthwise import DepthwiseConv
from .kernels.recompute import can_be_made_again, dropout, forget, made_again, recompute, recomputing
from .positions import sinusoidal_positions
from .precision import LayerNorm, autocast_dtype, weights_cast

RECOMPUTE = ("none", "cheap", "layer")


class ConvolutionModule(nn.Module):
    """LN, pointwise D -> 2D, GLU, depthwise over time, LN, Swish, pointwise D -> D, dropout.

    Padded frames are set to zero before the depthwise convolution. The end of a clip is then followed by zeros in a
    padded batch, as it is when the clip is alone.

    Args:
        embed_dim: D; kernel_size: odd; dropout: on the output.
    """

    def __init__(self, embed_dim: int, kernel_size: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(embed_dim)
        self.expand = xavier_linear(embed_dim, 2 * embed_dim)
        self.depthwise = DepthwiseConv(embed_dim, kernel_size)
        self.depthwise_norm = LayerNorm(embed_dim)
        self.project = xavier_linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D). With ``chunks`` zeros follow the end of each."""
        gated = made_again(partial(_gate, padding_mask=padding_mask), self.expand(self.norm(x)))
        if chunks is None:
            return self._finished(self.depthwise(gated))
        return self._finished(self.depthwise.forward_in_chunks(gated, chunks.size))

    @property
    def reach(self) -> int:
        """Frames on each side that a frame hears."""
        return self.depthwise.kernel_size[0] // 2

    def first_state(self, batch: int) -> list[Tensor]:
        """What is remembered before the first frame: the gated frames that the next ones hear, (B, reach, D)."""
        return [self.expand.weight.new_zeros((batch, self.reach, self.expand.in_features))]

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk: (B, T, D), state -> (B, T, D), the next state."""
        gated = torch.cat([state[0], _gate(self.expand(self.norm(x)), None)], 1)
        y = self._finished(self.depthwise(gated)[:, self.reach :])
        return y, [gated[:, gated.size(1) - self.reach :]]

    def _finished(self, x: Tensor) -> Tensor:
        """All that follows the depthwise convolution: (B, T, D) -> (B, T, D)."""
        return dropout(self.project(made_again(F.silu, self.depthwise_norm(x))), self.dropout)


def _gate(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """GLU, and zeros at padded frames: (B, T, 2D) -> (B, T, D)."""
    x = F.glu(x, dim=-1)
    return x if padding_mask is None else x.masked_fill(padding_mask[..., None], 0.0)


class ConformerLayer(nn.Module):
    """x + FFN/2, + mixer(LN(x)), + convolution, + FFN/2, LN (arXiv 2407.13377, section 3; Gulati et al., equation 1).

    Args:
        mixer: (B, T, D), padding mask -> (B, T, D), as in ``modules.mixing``.
        recompute: what the backward pass computes again instead of storing it: "none", "cheap" (norms, activations,
            dropout, copies and sums that modules give to ``made_again``) or "layer" (everything; in training only).
            Outputs and gradients are the same.
    """

    def __init__(
        self,
        mixer: nn.Module,
        embed_dim: int,
        ffn_dim: int,
        kernel_size: int,
        dropout: float,
        activation_dropout: float,
        recompute: str = "none",
    ):
        super().__init__()
        self.recompute = recompute
        self.embedding_dim = embed_dim  # fairseq's classification head asks for it by this name
        self.ffn1 = FeedForward(embed_dim, ffn_dim, dropout, activation_dropout)
        self.mixer_norm = LayerNorm(embed_dim)
        self.mixer = mixer
        self.conv = ConvolutionModule(embed_dim, kernel_size, dropout)
        self.ffn2 = FeedForward(embed_dim, ffn_dim, dropout, activation_dropout)
        self.norm = LayerNorm(embed_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D).

        With ``chunks`` no frame hears what comes after its chunk, if the mixer can stream.
        """
        if self.recompute == "layer" and self.training:
            return recompute(partial(self._forward, chunks=chunks), x, padding_mask)
        return self._forward(x, padding_mask, chunks)

    def _forward(self, x: Tensor, padding_mask: Tensor | None, chunks: Chunks | None) -> Tensor:
        with recomputing(self.recompute == "cheap"), weights_cast(self, autocast_dtype(x)):
            x = torch.add(x, self.ffn1(x), alpha=0.5)
            how = (padding_mask,) if chunks is None else (padding_mask, chunks)  # not every mixer knows chunks
            mixed = self.mixer(self.mixer_norm(x), *how)
            # next comes a norm, which stores the sum: needless beside both addends, one stored and one made again
            x = made_again(torch.add, x, mixed) if can_be_made_again(mixed) else x + mixed
            x = x + self.conv(x, *how)
            return self.norm(torch.add(x, self.ffn2(x), alpha=0.5))

    def first_state(self, batch: int, left: int) -> list[Tensor]:
        """What is remembered before the first frame: one tensor of the convolution, and those of the mixer.

        Args:
            batch: B, streams; left: frames that attention hears before a chunk.
        """
        mixer: Any = self.mixer
        return [*self.conv.first_state(batch), *mixer.first_state(batch, left)]

    def step(self, x: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk.

        Args:
            x: (B, T, D); state: of the step before, or ``first_state``; heard: (), the frames before them.

        Returns:
            (B, T, D), and the state for the next step.
        """
        mixer: Any = self.mixer
        x = torch.add(x, self.ffn1(x), alpha=0.5)
        mixed, of_mixer = mixer.step(self.mixer_norm(x), state[1:], heard)
        x = x + mixed
        convolved, of_conv = self.conv.step(x, state[:1])
        x = x + convolved
        return self.norm(torch.add(x, self.ffn2(x), alpha=0.5)), [*of_conv, *of_mixer]


class ConformerEncoder(nn.Module):
    """Positions, layers with LayerDrop (Fan et al. 2020), and one LayerNorm after the last.

    Under autocast the frames have its dtype from the first layer to the last, on every device.

    Args:
        build_layer: builds one layer; called ``num_layers`` times.
        layer_drop: probability to skip a layer in training.
        compile_layers: apply ``torch.compile`` to the layers at the first forward pass in training.
        norm_eps: of the last LayerNorm.
        streaming: of a model that reads clips chunk by chunk too: what its training draws. No positions are added
            then, as a stream has no end, and every mixer must be one that streams.
        positions: whether sinusoids are added to the frames.
    """

    def __init__(
        self,
        build_layer: Callable[[], ConformerLayer],
        num_layers: int,
        embed_dim: int,
        layer_drop: float = 0.0,
        compile_layers: bool = False,
        norm_eps: float = 1e-5,
        streaming: ChunkDraws | None = None,
        positions: bool = True,
    ):
        super().__init__()
        self.streaming = streaming
        self.adds_positions = positions and streaming is None
        self.layers = nn.ModuleList(build_layer() for _ in range(num_layers))
        self.layer_norm = LayerNorm(embed_dim, eps=norm_eps)
        self.layer_drop = layer_drop
        self.to_compile = compile_layers
        # True if weights are sharded: then all processes must run every layer, and a dropped one without effect
        self.run_dropped_layers = False

    def fill_missing_gradients(self) -> None:
        """Set the missing gradients of layers that LayerDrop skipped in a whole update to zero.

        Call it after the backward pass; it does nothing if no layer has a gradient. With several processes fairseq's
        sum of the gradients has the same effect. In a single process an optimizer would skip a layer without
        gradient, so that its moments and weight decay would differ from those of a run with several processes.
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
        chunks: Chunks | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode a padded batch.

        Args:
            x: (B, T, D), finite at padded frames too.
            padding_mask: (B, T) bool, True = padding, or None.
            last_layer: stop after this layer (from 0), without the final LayerNorm.
            keep_hidden_states: False returns no hidden states; without gradients this needs the memory of one layer.
            chunks: how the clips are read, of a streaming model. None: as wholes, in training as drawn.

        Returns:
            Output (B, T, D), and a list of hidden states (B, T, D): the encoder's input, with positions added if it has
            any, then the output of each layer, all before the final LayerNorm. The output of a dropped layer is its
            input. All in the dtype of ``x``, under autocast in float32.

        Raises:
            ValueError: if there is no layer ``last_layer``.
        """
        if last_layer is not None and not 0 <= last_layer < len(self.layers):
            raise ValueError(f"layer={last_layer}: the encoder has layers 0 to {len(self.layers) - 1}")
        if self.to_compile and self.training:
            self.to_compile = False
            compile_modules(self.layers, x.device)
        half = autocast_dtype(x)
        # one dtype from the first layer to the last; outside of the layers float32, as without autocast
        inside, outside = (x.dtype, x.dtype) if half is None else (half, torch.float32)
        if self.adds_positions:
            x = x + sinusoidal_positions(x.size(1), x.size(2), x.device).to(x.dtype)
        if chunks is None and self.streaming is not None and self.training:
            chunks = self.streaming.draw()
        x = x.to(inside)
        hidden_states = [x.to(outside)] if keep_hidden_states else []
        keep = [True] * len(self.layers)
        if self.training:
            # from torch's generator: our tasks seed it for each batch, so that a resumed run drops the same layers
            keep = (torch.rand(len(self.layers)) >= self.layer_drop).tolist()
        for layer, keep_layer in zip(self.layers[: None if last_layer is None else last_layer + 1], keep):
            if keep_layer:
                x = layer(x, padding_mask, chunks)
            elif self.run_dropped_layers:
                # its dropout must not change later random numbers
                with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
                    dropped = layer(x, padding_mask, chunks)
                never = torch.zeros((), dtype=torch.bool, device=x.device)
                x = torch.where(never, dropped, x)  # gives the layer gradients of zero
            if self.run_dropped_layers:
                forget(x)  # its layer's weights are not there when the next layer's backward pass runs
            if keep_hidden_states:
                hidden_states.append(x.to(outside))
        x = x.to(outside)
        return (self.layer_norm(x) if last_layer is None else x), hidden_states

    def first_state(self, batch: int, left: int) -> list[list[Tensor]]:
        """What each layer remembers before the first frame: see ``ConformerLayer.first_state``."""
        layers: Any = self.layers
        return [layer.first_state(batch, left) for layer in layers]

    def step(self, x: Tensor, states: list[list[Tensor]], heard: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """The frames that come next, all of one chunk, of a streaming model in evaluation.

        Args:
            x: (B, T, D); states: of the step before, or ``first_state``; heard: (), the frames before them.

        Returns:
            What ``forward`` gives of these frames with chunks that end where the steps do, (B, T, D); and the states
            for the next step.
        """
        layers: Any = self.layers
        after = []
        for layer, state in zip(layers, states):
            x, state = layer.step(x, state, heard)
            after.append(state)
        return self.layer_norm(x), after
