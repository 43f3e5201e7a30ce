"""Clips read chunk by chunk: what a frame may hear, and the chunks that training draws (arXiv 2409.07165)."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Chunks(NamedTuple):
    """A clip in chunks from its first frame on. No frame hears what comes after its chunk.

    Attributes:
        size: frames of a chunk.
        left: frames before a chunk that attention may use; a summary or a state uses all.
    """

    size: int
    left: int


class ChunkDraws(NamedTuple):
    """What a batch of the training of a streaming model is read by.

    Attributes:
        sizes: fewest and most frames of a chunk; left: of what attention hears before it.
        full_context: share of the batches that are read as wholes, as the same model works offline too.
    """

    sizes: tuple[int, int]
    left: tuple[int, int]
    full_context: float

    def draw(self) -> Chunks | None:
        """The chunks of a batch, or None for a batch read as a whole; by torch's random numbers of the CPU."""
        if float(torch.rand(())) < self.full_context:
            return None
        size, left = (int(torch.randint(low, high + 1, ())) for low, high in (self.sizes, self.left))
        return Chunks(size, left)
