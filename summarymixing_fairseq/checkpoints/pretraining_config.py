"""The configuration that fairseq builds a pre-trained model of, made anew out of a checkpoint's known fields."""

from __future__ import annotations

import ast
from typing import Any

import torch
from fairseq.models.hubert.hubert import HubertConfig
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from omegaconf import OmegaConf

from ..models.config import Wav2Vec2SummaryMixingConfig
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .contents import check_proportion, first_of_type, over_defaults, refusals_named, sections
from .encoders import ours, stock
from .encoders.conv_layers import parse_conv_layers

# all models that are built of a checkpoint, and the task that is set up for each, whatever the file says
MODELS: dict[str, tuple[Any, str]] = {
    ours.KIND: (Wav2Vec2SummaryMixingConfig, "speech_pretraining"),
    "wav2vec2": (Wav2Vec2Config, "audio_pretraining"),
    "hubert": (HubertConfig, "hubert_pretraining"),
}


def pretraining_config(config: Any, weights: dict[str, torch.Tensor], path: Any) -> dict[str, Any]:
    """Model's and task's part for fairseq, plain: fields of the model's dataclass, each of its type, and no others.

    Args:
        config: whole configuration of a checkpoint, as ``load_safely`` gives it: today's or flat; weights: beside it.

    Raises:
        InputError: for another model, a field of another type, code in ``conv_feature_layers``, or a model far larger
            than the weights.
    """
    model, task = sections(config)
    kind = model["_name"]
    if kind not in MODELS:
        raise InputError(
            f"{path} is a checkpoint of {str(kind)[:60]!r}: only pre-trained models are built from a file, "
            f"{', '.join(MODELS)}, and a wav2vec_ctc of one of them in fine-tuning: name such a checkpoint"
        )
    dataclass, task_name = MODELS[kind]
    defaults, own = dataclass(), {"_name": task_name, "data": "", "sample_rate": SAMPLE_RATE_HZ}
    own["normalize"] = first_of_type("normalize", bool, False, task, model)
    own["sample_rate"] = first_of_type("sample_rate", int, SAMPLE_RATE_HZ, task, model)
    if kind == "hubert":
        own["label_rate"] = float(first_of_type("label_rate", float, -1.0, task, model))
        model = {**model, "label_rate": own["label_rate"]}
    with refusals_named(path):
        # the command line's arguments hold tuples as text
        tuples = [name for name in model if isinstance(getattr(defaults, name, None), tuple)]
        texts = {name: ast.literal_eval(model[name][:100]) for name in tuples if isinstance(model[name], str)}
        fields = {**model, **texts}
        known: Any = OmegaConf.to_container(over_defaults(defaults, fields), resolve=True, enum_to_str=True)
        try:
            num_wanted = ours.num_parameters(known) if kind == ours.KIND else _checked_stock(known)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    check_proportion(num_wanted, weights, path)
    return {"model": {**known, "_name": kind}, "task": own}


def _checked_stock(config: dict[str, Any]) -> int:
    """Parameters of fairseq's models, roughly, wav2vec 2.0's quantizer included.

    The expression that fairseq evaluates is written anew. Raises InputError for what is not valid.
    """
    config["conv_feature_layers"] = repr(parse_conv_layers(config["conv_feature_layers"]))
    encoder = stock.read_config({name: config[name] for name in stock.DEFAULTS if name in config})
    channels = encoder["conv_feature_layers"][-1][0]
    width = max(abs(config.get(name) or 0) for name in ("final_dim", "latent_dim")) + encoder["encoder_embed_dim"]
    groups, depth = config.get("latent_groups", 1), config.get("quantizer_depth", 1)
    hidden = (channels * config.get("quantizer_factor", 1)) ** 2 * max(depth - 1, 0)
    codebooks = config.get("latent_vars", 0) * (width + groups * channels) + hidden + width * channels
    return stock.num_parameters(encoder) + codebooks
