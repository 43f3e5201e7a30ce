"""How good frames are while a model trains: effective rank and phone accuracy, against those of the run's start."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fairseq.logging.progress_bar import JsonProgressBar
from torch import nn

from ...analysis.phones import accuracy_by_layer
from ...analysis.rank import rank_by_layer
from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from .health import LastingSigns

logger = logging.getLogger(__name__)

MEASURED_SECONDS = 60
# A phone accuracy counts as lower if it falls by more than this. Seeds differ by more (studies/collapse).
PHONE_MARGIN = 0.005
# The rank of the latents counts as collapsed below this share of its value at the start of the run.
LEAST_RANK = 1 / 3
_ADVICE = (
    "Targets made of the latents (model.targets=latents) pull the feature extractor towards what is easy to predict: "
    "set +model.targets=detached or filterbank, or take a recipe of bestrq, whose gradients do not reach it through "
    "the targets. With these, lower optimization.lr or model.feature_grad_mult"
)


def first_minute(dataset: Any, max_samples: int | None) -> list[np.ndarray]:
    """The first clips of a dataset, in the order of its manifest, one minute together: always the same.

    Args:
        dataset: of fairseq's, whose items have a ``source``; max_samples: of a clip, the rest is cut off.
    """
    waves: list[np.ndarray] = []
    missing = MEASURED_SECONDS * SAMPLE_RATE_HZ
    for index in range(len(dataset)):
        wave = dataset[index]["source"].float().numpy()[: max_samples or None]
        if waves and len(wave) > missing:
            break
        waves.append(wave[:missing])
        missing -= len(wave)
    return waves


class QualityWatch:
    """Measures effective rank and phone accuracy, and warns where they fall below those of the run's start.

    Args:
        waves: clips that the rank is measured on, as the model takes them.
        normalize: whether the model takes waveforms of mean 0 and variance 1.
        patience: updates that a sign lasts before a warning.
        state: of ``state``, in a run that is taken up; None: a new run; {}: what it began with is not known.
    """

    def __init__(self, waves: Sequence[np.ndarray], normalize: bool, patience: int, state: Mapping[str, Any] | None):
        self._waves, self._normalize = waves, normalize
        self._measures_phones = True
        state = state or {}
        self._start: dict[str, float] = dict(state.get("start", {}))
        self._signs = LastingSigns(patience, state)

    def state(self) -> dict[str, Any]:
        """For a run that is taken up: plain containers."""
        return {"start": self._start, **self._signs.state()}

    def begin(self, model: nn.Module, split: str) -> None:
        """Measure what the run begins with, and log it as a validation of ``split`` after no update."""
        self._start = self.measure(model)
        JsonProgressBar([]).print({**self._start, "num_updates": 0}, tag=split)

    def measure(self, model: nn.Module) -> dict[str, float]:
        """``rank_NAME`` and, where speech can be made, ``phones_NAME`` (0 to 1) for ``latents``, ``input``, ``layer1``,
        ``layer2``, ...; and ``quality_seconds``, which it took.

        Modes of modules and random numbers stay as they are.
        """
        started = time.perf_counter()
        found = _named("rank", rank_by_layer(model, self._waves), digits=2)
        if self._measures_phones:
            try:
                found.update(_named("phones", accuracy_by_layer(model, self._normalize), digits=4))
            except (InputError, OSError) as error:  # a library that is not there or does not load
                self._measures_phones = False
                logger.warning("phone accuracy is not measured: %s", error)
        found["quality_seconds"] = round(time.perf_counter() - started, 2)
        return found

    def check(self, values: Mapping[str, Any], num_updates: int) -> list[str]:
        """Look at what a validation has measured; log and return the warnings that are due."""
        signs = signs_of_collapse(self._start, values)
        return self._signs.check({sign: f"{message}. {_ADVICE}" for sign, message in signs.items()}, num_updates)


def signs_of_collapse(start: Mapping[str, float], values: Mapping[str, Any]) -> dict[str, str]:
    """What says that frames are worse than those of the random start: a message by the name of the number.

    Args:
        start, values: ``phones_latents`` and ``rank_latents``, as ``QualityWatch.measure`` gives them, as far as known.
    """
    limits = {
        "phones_latents": (-PHONE_MARGIN, 1.0, "a linear map tells fewer phones from the latents"),
        "rank_latents": (0.0, LEAST_RANK, "the latents spread over less than a third of the directions"),
    }
    signs = {}
    for name, (margin, factor, message) in limits.items():
        before, value = start.get(name, math.nan), values.get(name)
        # "not": a value that is no number is a sign as well
        if value is not None and math.isfinite(before) and not value >= factor * before + margin:
            signs[name] = f"{message} than at the start of the run ({name} {value:g}, then {before:g})"
    return signs


def _named(measure: str, by_layer: Mapping[str, float], digits: int) -> dict[str, float]:
    """{"latents": x, "1": y} -> {"rank_latents": x, "rank_layer1": y}."""
    return {
        f"{measure}_{f'layer{layer}' if layer.isdigit() else layer}": round(value, digits)
        for layer, value in by_layer.items()
    }
