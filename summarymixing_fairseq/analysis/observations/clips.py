"""``clips``: what the mean of a clip's frames says of the clip: its speaker, its language, its length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..measures.regression import PENALTIES, explained_by_group, share_explained
from ..observed import NO_LABEL, Observed, jackknife
from .registry import Row, register_measure


@register_measure("clips", "what a linear map tells from the mean of a clip's frames: speaker, language, length")
def clips(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """For each kind of label the share of clips that are right, and R^2 of the logarithm of the clip's length."""
    states, groups = observed.states, np.array(observed.group_of_clips())
    lengths = np.log(np.array(states.num_frames, np.float64))
    for place in places:
        means = _means(observed, place)
        for kind, (of, _) in observed.clip_labels.items():
            # a class that one group alone has can be trained on or tested on, not both
            shared = [number for number in np.unique(of[of != NO_LABEL]) if len(np.unique(groups[of == number])) > 1]
            usable = np.isin(of, shared)
            if len(shared) > 1:
                yield Row(place, kind, jackknife(_hits(means[usable], of[usable], groups[usable]), _ratio))
        if len(np.unique(groups)) > 2:  # a map of one clip alone gives that clip's length for every other
            yield Row(place, "length", jackknife(explained_by_group(means, lengths, groups), share_explained))


def _means(observed: Observed, place: str) -> np.ndarray:
    """(clips, width) float64."""
    clips = observed.states.frames(place).split(observed.states.num_frames)
    return torch.stack([clip.double().mean(0) for clip in clips]).numpy()


def _hits(means: np.ndarray, of: np.ndarray, groups: np.ndarray) -> list[torch.Tensor]:
    """Right answers and clips of each group, by a map that was trained on the others; classes are in two or more."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = []
    for group in np.unique(groups):
        test = groups == group
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES)).fit(means[~test], of[~test])
        parts.append(torch.tensor([(probe.predict(means[test]) == of[test]).sum(), test.sum()], dtype=torch.float64))
    return parts


def _ratio(sums: torch.Tensor) -> float:
    return float(sums[0] / sums[1])
