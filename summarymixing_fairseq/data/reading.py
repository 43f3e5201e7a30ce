"""Batches of clips of similar length: read, and padded."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from . import audio
from .clips import check_length, open_clip
from .manifest import Clip, OutsideRootError

# Positions of clips, and their waveforms.
Batches = Generator[tuple[list[int], list[np.ndarray]], None, None]


def read_in_batches(
    clips: Sequence[Clip],
    batch_seconds: float,
    on_bad: Callable[[int, InputError], None] | None = None,
    min_samples: int = 0,
) -> Batches:
    """Read clips in batches of similar length, with a progress bar in seconds of audio.

    Args:
        batch_seconds: length of a padded batch at most, unless a single clip is longer.
        on_bad: takes the position of a clip that cannot be read, and the error, in place of an end.
        min_samples: at 16 kHz, of the shortest clip that is good.

    Yields:
        positions in ``clips``, and their waveforms, (num_samples,) float32 at 16 kHz.

    Raises:
        InputError: for a clip that cannot be read, or is shorter than its row says. Before the first batch if its
            header is bad, if it is too short, or if links lead out of its manifest's root (OutsideRootError, with
            ``on_bad`` too).
    """
    num_samples: dict[int, int] = {}
    for i, clip in enumerate(clips):
        with _given_to(on_bad, i):
            length = _num_samples(clip)
            if length < min_samples:
                raise InputError(f"{clip.output_name}: {length} samples, {min_samples} are needed: leave it out")
            num_samples[i] = length
    places, lengths = list(num_samples), list(num_samples.values())
    bar = tqdm(total=_seconds(sum(lengths)), unit="s", desc="audio", mininterval=0.5)
    done = 0
    with bar:
        for batch in batches_by_length(lengths, int(batch_seconds * SAMPLE_RATE_HZ)):
            waveforms = {}
            for i in (places[number] for number in batch):
                with _given_to(on_bad, i):
                    waveforms[i] = _read(clips[i])
            if waveforms:
                yield list(waveforms), list(waveforms.values())
            done += sum(lengths[number] for number in batch)
            bar.update(_seconds(done) - bar.n)  # of what is done in all, or rounding would add up


def _seconds(num_samples: int) -> int:
    return math.ceil(num_samples / SAMPLE_RATE_HZ)


@contextmanager
def _given_to(on_bad: Callable[[int, InputError], None] | None, position: int) -> Iterator[None]:
    try:
        yield
    except OutsideRootError:
        raise
    except InputError as error:
        if on_bad is None:
            raise
        on_bad(position, error)


def _read(clip: Clip) -> np.ndarray:
    samples = audio.read_segment(open_clip(clip), *clip.part)
    check_length(clip, len(samples), SAMPLE_RATE_HZ)
    return samples


def _num_samples(clip: Clip) -> int:
    clip.check_inside()
    if clip.offset is not None:
        return clip.num_samples
    opened = open_clip(clip)
    try:
        header = audio.read_header(opened)
    except audio.DECODING_ERRORS:
        header = audio.AudioHeader(0, SAMPLE_RATE_HZ)
    if header.num_frames <= 0:
        audio.read_segment(opened)  # its error says what is wrong
        raise InputError(f"{clip.path} cannot be read: no audio header")
    return math.ceil(header.num_frames * SAMPLE_RATE_HZ / header.sample_rate_hz)


def batches_by_length(num_samples: Sequence[int], max_samples: int) -> list[list[int]]:
    """Group clips of similar length so that a padded batch has at most ``max_samples`` samples, or a single clip.

    Returns:
        Positions of the clips of each batch, longest first: if memory runs out, it does so at once.
    """
    order = sorted(range(len(num_samples)), key=lambda i: (-num_samples[i], i))
    batches: list[list[int]] = []
    for i in order:
        # the first clip of a batch is its longest: with i, the batch would have (len + 1) rows of that length
        if batches and (len(batches[-1]) + 1) * num_samples[batches[-1][0]] <= max_samples:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def pad_batch(waveforms: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Waveforms of any lengths -> source (B, num_samples) float32 and padding mask (B, num_samples), True = padding."""
    lengths = torch.tensor([len(w) for w in waveforms])
    tensors = [torch.from_numpy(np.ascontiguousarray(waveform)).float() for waveform in waveforms]
    source = pad_sequence(tensors, batch_first=True)
    padding_mask = torch.arange(source.size(1)) >= lengths[:, None]
    return source.to(device), padding_mask.to(device)


def seconds_up(num_samples: int) -> float:
    """Samples at 16 kHz as seconds, rounded up to hundredths: clips of that length are long enough."""
    return math.ceil(num_samples * 100 / SAMPLE_RATE_HZ) / 100
