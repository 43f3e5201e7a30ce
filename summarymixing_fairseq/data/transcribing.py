"""Speech to text by a CTC model and a decoder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .ctc_decoding import BeamDecoder, GreedyDecoder
from .manifest import Clip
from .reading import normalise_waveform, pad_batch, read_in_batches


@dataclass(frozen=True)
class Transcripts:
    """Texts of clips, in their order.

    Attributes:
        texts: words or other units between spaces.
        too_short: names of the clips that are too short for one frame, whose text is "".
        audio_seconds: length of all clips; seconds: that reading, model and decoder took.
    """

    texts: list[str]
    too_short: list[str]
    audio_seconds: float
    seconds: float


@torch.inference_mode()
def transcribe(
    model: Any, decoder: GreedyDecoder | BeamDecoder, clips: Sequence[Clip], batch_seconds: float, normalize: bool
) -> Transcripts:
    """Transcribe clips in batches.

    Args:
        model: fairseq's ``Wav2VecCtc`` with our encoder inside, in eval mode; batch_seconds: of a padded batch.
        normalize: bring each waveform to mean 0 and variance 1, as ``task.normalize`` did in training.

    Raises:
        InputError: for a clip that cannot be read, or whose scores are not finite.
    """
    frontend = model.w2v_encoder.w2v_model.feature_extractor
    device = next(model.parameters()).device
    texts = [""] * len(clips)
    too_short = []
    num_samples = 0
    started = time.perf_counter()
    for positions, waveforms in read_in_batches(clips, batch_seconds):
        num_samples += sum(map(len, waveforms))
        batch = {i: waveform for i, waveform in zip(positions, waveforms) if len(waveform) >= frontend.min_samples()}
        too_short += [clips[i].output_name for i in positions if i not in batch]
        if batch:
            source, padding_mask = pad_batch(list(batch.values()), device)
            if normalize:
                source = normalise_waveform(source, padding_mask)
            net_output = model(source=source, padding_mask=padding_mask)
            log_probs = model.get_normalized_probs(net_output, log_probs=True)  # (T, B, symbols)
            emissions: np.ndarray = log_probs.transpose(0, 1).float().cpu().numpy()  # (B, T, symbols)
            lengths = frontend.output_lengths((~padding_mask).sum(1)).tolist()
            for i, clip_emissions, length in zip(batch, emissions, lengths):
                if not np.isfinite(clip_emissions[:length]).all():
                    raise InputError(
                        f"{clips[i].path}: its scores are not finite numbers: leave it out if it is the only one, try "
                        "--precision float32, otherwise the checkpoint is broken"
                    )
                texts[i] = decoder.decode(clip_emissions[:length])
    return Transcripts(texts, too_short, num_samples / SAMPLE_RATE_HZ, time.perf_counter() - started)
