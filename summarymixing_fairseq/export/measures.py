"""What an export costs and what it hears: real-time factors, and errors on clips whose words are known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..checkpoints.fine_tuned import FineTuned
from ..checkpoints.recogniser import BATCH_SECONDS
from ..data.ctc_decoding import GreedyDecoder
from ..data.manifest import Manifest
from ..data.reading import read_in_batches
from ..data.references import read_references
from ..probing.metrics.error_rate import error_rates
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .check import Outputs, Recognised, check_clip
from .source import Source

# of the clip that is timed; it is run so often, and the median taken
SECONDS = 10.0
RUNS = 5


def speed(outputs: Mapping[str, Outputs]) -> str:
    """Real-time factors of a clip of 10 s, by name, in one line."""
    clip, factors = [check_clip(SECONDS)], []
    for name, run in outputs.items():
        run(clip)  # the first one is slower
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            run(clip)
            seconds.append(time.perf_counter() - start)
        factors.append(f"{name} {float(np.median(seconds)) / SECONDS:.4f}")
    return f"real-time factor of {SECONDS:g} s on {torch.get_num_threads()} threads: {', '.join(factors)}"


@dataclass(frozen=True)
class Labelled:
    """Clips whose words are known.

    Attributes:
        waveforms: (num_samples,) float32 at 16 kHz each.
        references: units between spaces; unit: word, phone, ...
    """

    waveforms: list[np.ndarray]
    references: list[str]
    unit: str

    @property
    def seconds(self) -> float:
        """Of all clips."""
        return sum(map(len, self.waveforms)) / SAMPLE_RATE_HZ

    def error_rate(self, texts: list[str]) -> tuple[str, float]:
        """CER of words, or the rate of other units: its name and value."""
        name, (rate, _) = list(error_rates(self.references, texts, self.unit).items())[-1]
        return (name.upper() if self.unit == "word" else name.replace("_", " ")), rate.rate


def read_labelled(manifest: Manifest, fine_tuned: FineTuned) -> Labelled:
    """Read the clips of SPLIT.tsv, and the references beside it: SPLIT.wrd, or the labels of the model's training.

    Raises:
        InputError: for a file that cannot be read, or where there are no references, or empty ones alone.
    """
    path, clips = manifest.path, list(manifest)
    found = read_references(path.parent, path.stem, len(clips), fine_tuned.symbols)
    if found is None:
        raise InputError(f"{path} has no references: {path.with_suffix(f'.{fine_tuned.symbols.labels}')} is missing")
    if not any(found[1]):
        raise InputError(f"{path}: its references are empty, so no error rate can be told of them")
    waveforms: dict[int, np.ndarray] = {}
    for rows, read in read_in_batches(clips, BATCH_SECONDS):
        waveforms |= zip(rows, read)
    return Labelled([waveforms[row] for row in range(len(clips))], found[1], fine_tuned.symbols.unit)


@dataclass(frozen=True)
class Heard:
    """What was made of clips, one at a time.

    Attributes:
        outputs: scores (T, symbols) of each, or what the format gives in their place; texts: what they spell.
        real_time_factor: seconds that it took, of one of audio.
    """

    outputs: list[object]
    texts: list[str]
    real_time_factor: float


def listen(outputs: Recognised, labelled: Labelled, source: Source) -> Heard:
    """Recognise clips. Of one that is too short for a frame there are no scores, and its text is empty."""
    fine_tuned, shortest = source.fine_tuned, source.our_encoder().min_samples()
    assert fine_tuned is not None  # noqa: S101 # of a recogniser alone
    found: list[object] = []
    outputs([check_clip(1.0)])
    start = time.perf_counter()
    for waveform in labelled.waveforms:
        found += outputs([waveform]) if len(waveform) >= shortest else [torch.zeros(0, len(fine_tuned.dictionary))]
    seconds = time.perf_counter() - start
    decoder = GreedyDecoder(fine_tuned.dictionary, fine_tuned.symbols)
    texts = [
        decoder.decode(one.log_softmax(-1).numpy())[0].text if isinstance(one, torch.Tensor) else str(one)
        for one in found
    ]
    return Heard(found, texts, seconds / labelled.seconds)
