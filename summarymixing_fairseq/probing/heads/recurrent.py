"""Bidirectional LSTM probes; the backward direction starts at the last valid frame of each clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .head import ProbeHead, register_head, require_positive, require_probability
from .pooling import masked_mean


class BiLstm(nn.Module):
    """Stack of bidirectional LSTMs (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005).

    On a GPU a padded batch is packed. On a CPU packing makes the backward pass 3 to 6 times slower. There, the backward
    direction runs over each clip's valid frames in reverse order, with the padding still at the end.

    The LSTM computes in the type of its weights, under autocast too: some CPUs have no LSTM in bfloat16.

    Args:
        input_dim: D; hidden_dim: units of each direction; num_layers: number of layers.
        dropout: on the output of every layer but the last, in training.

    Raises:
        ValueError: for a size below 1 or a dropout outside 0 to 1.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float):
        super().__init__()
        require_positive(hidden_dim=hidden_dim, num_layers=num_layers)
        require_probability(dropout=dropout)
        self.lstm = nn.LSTM(
            input_dim,
            hidden_dim,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,  # torch warns of a dropout that is never applied
            bidirectional=True,
        )

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        """Run both directions.

        Args:
            x: (B, T, D), finite; num_valid: (B,) int64 on the CPU, valid frames of each clip, or None: all of them.

        Returns:
            (B, T, 2 hidden_dim), zero at padded frames.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(next(self.lstm.parameters()).dtype)
            if num_valid is None:
                return self.lstm(x)[0]
            return self._by_direction(x, num_valid) if x.device.type == "cpu" else self._packed(x, num_valid)

    def _packed(self, x: Tensor, num_valid: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, num_valid, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.size(1))[0]

    def _by_direction(self, x: Tensor, num_valid: Tensor) -> Tensor:
        frames = torch.arange(x.size(1))
        padding = frames >= num_valid[:, None]  # (B, T)
        # reverses the valid frames of each clip; applied twice, it restores their order
        order = torch.where(padding, frames, num_valid[:, None] - 1 - frames)[..., None]  # (B, T, 1)
        for layer in range(self.lstm.num_layers):
            if layer:
                x = F.dropout(x, self.lstm.dropout, self.training)
            forward = self._direction(x, f"l{layer}")
            backward = self._direction(x.gather(1, order.expand_as(x)), f"l{layer}_reverse")
            x = torch.cat([forward, backward.gather(1, order.expand_as(backward))], dim=-1)  # (B, T, 2 H)
        return x.masked_fill(padding[..., None], 0.0)

    def _direction(self, x: Tensor, name: str) -> Tensor:
        """(B, T, D) -> (B, T, H): one direction of one layer, from the first frame to the last."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parameters = [getattr(self.lstm, f"{each}_{name}") for each in names]
        start = x.new_zeros(1, x.size(0), self.lstm.hidden_size)
        return torch.lstm(x, (start, start), parameters, True, 1, 0.0, self.training, False, True)[0]


@register_head("bilstm_ctc")
class BiLstmCtc(ProbeHead):
    """BiLSTMs and one linear layer a frame (MP3S, arXiv 2308.14456: probe 1 of the recognition tasks).

    Args:
        input_dim: D; num_classes: symbols, blank included.
        num_layers, hidden_dim, dropout: of ``BiLstm``.
    """

    is_frame_level = True

    def __init__(
        self, input_dim: int, num_classes: int, *, num_layers: int = 2, hidden_dim: int = 1024, dropout: float = 0.2
    ):
        super().__init__(input_dim, num_classes)
        self.encoder = BiLstm(input_dim, hidden_dim, num_layers, dropout)
        self.output = nn.Linear(2 * hidden_dim, num_classes)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, T, num_classes)."""
        x, _, num_valid = self.checked(x, padding_mask)
        return self.output(self.encoder(x, num_valid))


@register_head("bilstm_mean")
class BiLstmMean(ProbeHead):
    """BiLSTMs, linear layer, mean over valid frames, linear layer (MP3S: probe 2 of intent).

    The mean is taken before the first linear layer: the scores are the same, and that layer has T times less to do.
    There is no nonlinearity between the two linear layers, as published.

    Args:
        input_dim: D; num_classes: classes.
        num_layers, hidden_dim, dropout: of ``BiLstm``; MP3S runs it without dropout.
        output_bias: give the last layer a bias; MP3S does not.
    """

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        *,
        num_layers: int = 2,
        hidden_dim: int = 768,
        dropout: float = 0.2,
        output_bias: bool = True,
    ):
        super().__init__(input_dim, num_classes)
        self.encoder = BiLstm(input_dim, hidden_dim, num_layers, dropout)
        self.project = nn.Linear(2 * hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, num_classes, bias=output_bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, num_classes)."""
        x, padding_mask, num_valid = self.checked(x, padding_mask)
        return self.output(self.project(masked_mean(self.encoder(x, num_valid), padding_mask)))
