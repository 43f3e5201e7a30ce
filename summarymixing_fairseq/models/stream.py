"""One step of a streaming model: samples in, frames out, and what is remembered until the next step."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from torch import Tensor, nn


class StreamStep(nn.Module):
    """The next frames of a stream, by a model with ``model.streaming=true`` (arXiv 2409.07165).

    Chunk by chunk it gives what the model gives of the whole clip in such chunks. The state has the same size however
    long the stream.

    Args:
        model: ``Wav2Vec2SummaryMixingModel`` in evaluation; head: of a recogniser, its scores.
    """

    def __init__(self, model: Any, head: nn.Module | None = None):
        super().__init__()
        self.feature_extractor, self.encoder = model.feature_extractor, model.encoder
        self.post_extract_proj, self.head = model.post_extract_proj, head
        self.left = int(model.cfg.left_frames[1])

        # the state is a flat list, as a graph takes it
        self._sizes = [len(of_layer) for of_layer in self.encoder.first_state(1, self.left)]

    def first_state(self, batch: int = 1) -> list[Tensor]:
        """What is remembered before the first frame: that of the front end, then that of each layer."""
        of_layers = self.encoder.first_state(batch, self.left)
        return [*self.feature_extractor.first_state(batch), *chain.from_iterable(of_layers)]

    def forward(self, waveform: Tensor, heard: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """A chunk of T frames.

        Args:
            waveform: (B, num_samples) that they hear, at 16 kHz and full scale 1: ``min_samples(T)`` of the front end,
                whose first ones the step before has heard too.
            heard: () int64, the frames before these; state: of the step before, or ``first_state``.

        Returns:
            Output of the encoder (B, T, D), or scores (B, T, symbols); and the state for the next step.
        """
        of_frontend, rest = list(state[:2]), iter(state[2:])
        of_layers = [list(islice(rest, size)) for size in self._sizes]
        latents, sums = self.feature_extractor.step(waveform, of_frontend, heard)
        x, after = self.encoder.step(self.post_extract_proj(latents), of_layers, heard)
        return (x if self.head is None else self.head(x), *sums, *chain.from_iterable(after))
