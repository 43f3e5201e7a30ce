"""The checkpoint that is exported: what is in it, and its outputs, which every format is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.contents import config_of, section, sections, weights_of
from ..checkpoints.encoders import FINE_TUNED_PREFIXES, Encoder, encoder_in, ours
from ..checkpoints.fine_tuned import CTC_NAME, FineTuned, fine_tuned_in
from ..checkpoints.untrusted_file import load_safely
from ..data.reading import pad_batch
from ..modules.mixing import most_frames
from ..modules.normalise import normalise_waveform
from ..system.errors import InputError


@dataclass(frozen=True)
class Source:
    """A checkpoint.

    Attributes:
        path: of its file; state: what it holds, as ``load_safely`` gives it.
        encoder: with its last LayerNorm, frozen; None of a probe, or of a model that is none of ours or fairseq's.
        fine_tuned: the CTC model, of a checkpoint that is one of ours.
    """

    path: Path
    state: dict[str, Any]
    encoder: Encoder | None
    fine_tuned: FineTuned | None

    @property
    def name(self) -> str:
        """Of the model's class in fairseq."""
        return str(sections(config_of(self.state))[0]["_name"])

    def our_encoder(self) -> Encoder:
        """The encoder. Raises InputError where it is not of this package's model."""
        if self.encoder is None or self.encoder.spec.kind != ours.KIND:
            raise InputError(f"{self.path} is a checkpoint of {self.name!r}: only {ours.KIND!r} goes to this format")
        if self.encoder.spec.fine_tuned and self.fine_tuned is None:
            if self.name == CTC_NAME:
                raise InputError(f"{self.path} carries no dictionary: it is not known what its outputs are")
            raise InputError(f"{self.path} is a {self.name!r}: of fine-tuned models only {CTC_NAME!r} goes to it")
        return self.encoder

    def encoder_weights(self) -> dict[str, Tensor]:
        """Weights of the encoder and of the mask, by the names of a pre-trained model; none of the objective's."""
        prefix = FINE_TUNED_PREFIXES.get(self.name, "")
        own = {name[len(prefix) :]: value for name, value in self.state["model"].items() if name.startswith(prefix)}
        unused = tuple(name for name in ours.UNUSED_PREFIXES if name != "mask_emb")
        return {name: value for name, value in own.items() if not name.startswith(unused)}

    def max_frames(self) -> int | None:
        """Frames of the longest clip that its mixers take; None where there is no such limit."""
        most = math.inf if self.encoder is None else most_frames(self.encoder)
        return int(most) if math.isfinite(most) else None

    @torch.no_grad()
    def outputs(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Of clips (num_samples,) float32 in one padded batch: (T, D) each, or of a recogniser its scores."""
        if self.fine_tuned is None:
            return self.our_encoder().extract_batch(waveforms)
        source, padding = pad_batch(waveforms, torch.device("cpu"))
        padding_mask = padding if padding.any() else None
        if self.fine_tuned.normalize:
            source = normalise_waveform(source, padding_mask)
        scores = self.fine_tuned(source, padding_mask)  # (T, B, symbols)
        lengths = self.our_encoder().output_lengths(torch.tensor([len(one) for one in waveforms]))
        return [scores[:length, i] for i, length in enumerate(lengths.tolist())]


def load_source(path: Path) -> Source:
    """Read a checkpoint, a file of an earlier export included.

    Raises:
        InputError: for one that cannot be read, or weights that are not finite.
    """
    state = load_safely(path)
    weights_of(state, path)
    model = sections(config_of(state))[0]
    kinds = model["_name"], sections(model.get("w2v_args"))[0]["_name"]
    if kinds == (CTC_NAME, ours.KIND) and "target_dictionary" in section(state, "task_state"):
        fine_tuned = fine_tuned_in(state, path)
        return Source(path, state, fine_tuned.encoder, fine_tuned)
    try:
        return Source(path, state, encoder_in(state, path, with_output=True).requires_grad_(False), None)
    except InputError:
        if ours.KIND in kinds:
            raise
        return Source(path, state, None, None)  # a probe, or a model of others
