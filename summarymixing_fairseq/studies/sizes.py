"""Models of one size: the encoder width that gives a recipe with another mixer a wanted number of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..benchmarks.recipe import read_recipe
from ..models.config import layer_mixers
from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..system.errors import InputError

FFN_RATIO = 4
OWN_KEYS = ("model.mixer", "model.encoder_embed_dim", "model.encoder_ffn_embed_dim")


@dataclass(frozen=True)
class Size:
    """A mixer at the width whose whole pre-training model is nearest to a target.

    Attributes:
        config: of pre-training, which the rest is taken from; settings: more that differs from it, ``model.KEY=VALUE``.
        width: of the encoder; layers: of it; parameters: of the model.
    """

    config: Path
    mixer: str
    settings: tuple[str, ...]
    width: int
    layers: int
    parameters: int

    @property
    def overrides(self) -> list[str]:
        """What differs from the configuration."""
        values = (self.mixer, self.width, FFN_RATIO * self.width)
        return [*(f"{key}={value}" for key, value in zip(OWN_KEYS, values)), *self.settings]


def matched_size(config: Path, mixer: str, parameters: int, settings: Sequence[str] = ()) -> Size:
    """The width, a multiple of ``model.summary_heads`` that the mixer takes, at which a model is nearest to a size.

    The feed-forward modules have four times the width, as in the recipes. Models are built without data and counted.

    Raises:
        InputError: for a setting or a mixer that is not valid.
    """
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or not key.startswith("model.") or key in OWN_KEYS:
            raise InputError(f"--set {setting}: must be model.KEY=VALUE, and none of {', '.join(OWN_KEYS)}")
    try:
        cfg = read_recipe(config, ["task.data=.", f"model.mixer={mixer}", *settings]).model
        width, count = _nearest(cfg, _allowed_widths(cfg, parameters), parameters)
    except OmegaConfBaseException as error:
        raise InputError(f"{config.name} with {' '.join(settings)}: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        raise InputError(str(error)) from None
    return Size(config, mixer, tuple(settings), width, cfg.encoder_layers, count)


def _of_width(cfg: Any, width: int) -> Any:
    return OmegaConf.merge(cfg, {"encoder_embed_dim": width, "encoder_ffn_embed_dim": FFN_RATIO * width})


def _allowed_widths(cfg: Any, parameters: int) -> list[int]:
    """Widths that the mixer takes, up to one beyond that at which the feed-forward modules alone have all parameters.

    Raises:
        InputError: with the last refusal, if it takes none.
    """
    step, layers = max(1, cfg.summary_heads), max(1, cfg.encoder_layers)  # the model refuses less, in its own words
    # two modules of two matrices, D x 4 D
    most = isqrt(parameters // (4 * FFN_RATIO * layers))
    widths, refused = [], ""
    for width in range(step, most + step + 1, step):
        try:
            layer_mixers(_of_width(cfg, width))
            widths.append(width)
        except ValueError as error:
            refused = str(error)
    if not widths:
        raise InputError(refused)
    return widths


def _nearest(cfg: Any, widths: Sequence[int], parameters: int) -> tuple[int, int]:
    """The width whose model is nearest to a size, and its parameters, by bisection."""
    low, high = 0, len(widths) - 1
    while low < high:
        middle = (low + high) // 2
        if count_parameters(_of_width(cfg, widths[middle])) < parameters:
            low = middle + 1
        else:
            high = middle
    counts = {width: count_parameters(_of_width(cfg, width)) for width in widths[max(low - 1, 0) : low + 1]}
    return min(counts.items(), key=lambda item: abs(item[1] - parameters))


def count_parameters(cfg: Any) -> int:
    """Parameters of the whole pre-training model of a configuration's ``model``; no memory is taken for them."""
    with torch.device("meta"):
        model = Wav2Vec2SummaryMixingModel(cfg)
    return sum(parameter.numel() for parameter in model.parameters())
