"""Phone accuracy: which share of frames a linear map from frozen frames to phones gets right, by layer.

The map is a ridge regression to one-hot phones, trained on the frames of some voices and tested on those of others that
say other sentences. A frame has the phone that is spoken at its centre; pauses are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data.synthesiser import Phone
from .measures.similarity import CrossSums
from .phone_speech import PhoneClip, phone_speech
from .ridge import linear_map, num_correct
from .states import evaluating, states_in_batches

NO_PHONE = -1


def frame_spans(
    edges: Sequence[tuple[float, float]], num_frames: int, window_samples: int, shift_samples: int
) -> list[tuple[int, int]]:
    """The first frame whose centre lies in each interval, and the one after the last; equal where there is none.

    Args:
        edges: start and end of the intervals, in samples; num_frames: of the clip.
        window_samples: that a frame hears, from the first sample on; shift_samples: from one frame to the next.
    """
    centres = np.arange(num_frames) * shift_samples + window_samples / 2
    return [(first, end) for first, end in np.searchsorted(centres, np.reshape(edges, (-1, 2))).tolist()]


def frame_labels(
    phones: Sequence[Phone], num_frames: int, window_samples: int, shift_samples: int, classes: Mapping[str, int]
) -> np.ndarray:
    """The phone at the centre of each frame.

    Args:
        phones: in their order; num_frames: of the clip.
        window_samples: that a frame hears, from the first on; shift_samples: from one frame to the next.
        classes: number of each phone.

    Returns:
        (num_frames,) int64; ``NO_PHONE`` in a pause, and for a phone that is not in ``classes``.
    """
    labels = np.full(num_frames, NO_PHONE)
    spans = frame_spans([(phone.start, phone.end) for phone in phones], num_frames, window_samples, shift_samples)
    for phone, (first, end) in zip(phones, spans):
        labels[first:end] = classes.get(phone.name, NO_PHONE)
    return labels


def accuracy_by_layer(model: Any, normalize: bool = False) -> dict[str, float]:
    """Phone accuracy, 0 to 1, at the latents, the encoder's input and each layer, on speech of ``phone_speech``.

    Args:
        model: a pre-training model of ours; normalize: whether it takes waveforms of mean 0 and variance 1.

    Returns:
        by ``latents``, ``input``, ``1``, ``2``, ...; nan where frames are not finite.

    Raises:
        InputError: if the wheel espeakng-loader is not installed.
    """
    train, test = phone_speech()
    classes = {name: k for k, name in enumerate(sorted({phone.name for clip in train for phone in clip.phones}))}
    device = next(model.parameters()).device
    sums: dict[str, CrossSums] = {}
    with evaluating(model):
        for labels, states in _labelled(model, train, classes, normalize):
            for name, frames in states.items():
                of_place = sums.setdefault(name, CrossSums([frames.size(1)], [len(classes)], device))
                # float64, as a training may allow TF32
                of_place.add(frames[labels != NO_PHONE].double(), labels[labels != NO_PHONE])
        maps = {name: linear_map(of_place) for name, of_place in sums.items()}
        correct = {name: torch.zeros((), dtype=torch.int64, device=device) for name in maps}
        num_tested = 0
        for labels, states in _labelled(model, test, classes, normalize):
            num_tested += int((labels != NO_PHONE).sum())
            for name, frames in states.items():
                correct[name] += num_correct(frames, labels, *maps[name])
    return {
        name: float(correct[name]) / num_tested if bool(torch.isfinite(maps[name][0]).all()) else float("nan")
        for name in maps
    }


def _labelled(model: Any, clips: Sequence[PhoneClip], classes: Mapping[str, int], normalize: bool) -> Any:
    """Labels (frames,) and states of the clips, batch by batch."""
    frontend = model.feature_extractor
    window_samples = frontend.min_samples(1)
    shift_samples = frontend.min_samples(2) - window_samples
    num_frames = frontend.output_lengths(torch.tensor([len(clip.wave) for clip in clips])).tolist()
    for batch, states in states_in_batches(model, [clip.wave for clip in clips], normalize):
        labels = np.concatenate(
            [frame_labels(clips[i].phones, num_frames[i], window_samples, shift_samples, classes) for i in batch]
        )
        some = next(iter(states.values()))
        yield torch.from_numpy(labels).to(some.device), states
