"""Phone accuracy: which share of frames a linear map from frozen frames to phones gets right, by layer.

The map is a ridge regression to one-hot phones, trained on the frames of some voices and tested on those of others that
say other sentences. A frame has the phone that is spoken at its centre; pauses are left out.
"""

from __future__ import annotations

from typing import Any

import torch

from ..data.frame_times import FrameTimes
from .labels import frames_of_tier
from .measures.similarity import CrossSums
from .observed import NO_LABEL
from .phone_speech import phone_speech
from .ridge import linear_map, num_correct
from .states import evaluating, states_in_batches


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
    waves, alignments = zip(*train, *test)
    frontend, device = model.feature_extractor, next(model.parameters()).device
    num_frames = frontend.output_lengths(torch.tensor(list(map(len, waves)))).tolist()
    (labels, names), _ = frames_of_tier(alignments, "phones", num_frames, FrameTimes.of(frontend))
    of_clips = torch.from_numpy(labels).to(device).split(num_frames)
    sums: dict[str, CrossSums] = {}
    with evaluating(model):
        for batch, states in states_in_batches(model, waves[: len(train)], normalize):
            these = torch.cat([of_clips[i] for i in batch])
            for name, frames in states.items():
                of_place = sums.setdefault(name, CrossSums([frames.size(1)], [len(names)], device))
                # float64, as a training may allow TF32
                of_place.add(frames[these != NO_LABEL].double(), these[these != NO_LABEL])
        maps = {name: linear_map(of_place) for name, of_place in sums.items()}
        correct = {name: torch.zeros((), dtype=torch.int64, device=device) for name in maps}
        num_tested = 0
        for batch, states in states_in_batches(model, waves[len(train) :], normalize):
            these = torch.cat([of_clips[len(train) + i] for i in batch])
            num_tested += int((these != NO_LABEL).sum())
            for name, frames in states.items():
                correct[name] += num_correct(frames, these, *maps[name])
    return {
        name: float(correct[name]) / num_tested if bool(torch.isfinite(maps[name][0]).all()) else float("nan")
        for name in maps
    }
