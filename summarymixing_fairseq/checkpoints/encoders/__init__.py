"""Speech encoders out of checkpoints, ours, wav2vec 2.0 and HuBERT, pre-trained or fine-tuned: one interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from ..contents import (
    check_proportion,
    config_of,
    first_of_type,
    load_weights,
    no_fairseq_checkpoint,
    refusals_named,
    sections,
    weights_of,
)
from ..untrusted_file import load_safely
from . import ours, stock
from .interface import Encoder, EncoderSpec

__all__ = ["Encoder", "EncoderSpec", "load_encoder", "load_model", "num_parameters", "random_encoder"]

MODULES: dict[str, Any] = {ours.KIND: ours, **dict.fromkeys(stock.KINDS, stock)}
KINDS = tuple(MODULES)
# where fairseq's fine-tuned models keep the encoder
FINE_TUNED_PREFIXES = {
    "wav2vec_ctc": "w2v_encoder.w2v_model.",
    "hubert_ctc": "w2v_encoder.w2v_model.",
    "wav2vec_seq2seq": "encoder.w2v_model.",
    "hubert_seq2seq": "encoder.w2v_model.",
    "wav2vec_classification": "w2v_encoder.w2v_model.",
}


def _read_spec(state: Any, path: Path) -> tuple[EncoderSpec, str]:
    """Specification of the encoder in a checkpoint, and the prefix of its weights' names."""
    model, task = sections(config_of(state))
    places, prefix = [task, model], ""
    name = model["_name"]
    if not name:
        raise no_fairseq_checkpoint(path)
    if name in FINE_TUNED_PREFIXES:
        prefix = FINE_TUNED_PREFIXES[name]
        model, task = sections(model.get("w2v_args"))
        if not model["_name"]:
            raise InputError(f"{path}: a {name} model without its encoder's configuration (w2v_args), so not readable")
        places = [task, model, *places]
    kind = model["_name"]
    if kind not in KINDS:
        raise InputError(
            f"{path} is a checkpoint of {kind!r}: {', '.join(KINDS[:-1])} and {KINDS[-1]} are read, pre-trained or "
            "fine-tuned by fairseq"
        )
    # of fine-tuning too, which fairseq does not compare with the encoder's
    rates = (first_of_type("sample_rate", int, SAMPLE_RATE_HZ, place) for place in places)
    sample_rate_hz = next((rate for rate in rates if rate != SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
    if sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"{path}: its encoder takes audio at {sample_rate_hz} Hz, which cannot be mixed with the {SAMPLE_RATE_HZ} "
            "Hz of all others: choose an encoder trained at that rate"
        )
    try:
        config = MODULES[kind].read_config(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    normalize = first_of_type("normalize", bool, False, *places)
    return EncoderSpec(kind, config, normalize, sample_rate_hz, bool(prefix)), prefix


def _build(spec: EncoderSpec, dropout: float, with_output: bool) -> Encoder:
    if not 0 <= dropout <= 1:
        raise InputError(f"dropout={dropout!r}: must be a probability, 0 to 1")
    encoder_class = ours.OurEncoder if spec.kind == ours.KIND else stock.StockEncoder
    return encoder_class(spec, dropout, with_output)


def num_parameters(spec: EncoderSpec) -> int:
    """Parameters of an encoder, roughly, without building it.

    Raises:
        ValueError: for a configuration of ours that is not valid.
    """
    return cast("int", MODULES[spec.kind].num_parameters(spec.config))


def random_encoder(spec: EncoderSpec, dropout: float = 0.0, with_output: bool = False) -> Encoder:
    """An encoder with random weights.

    Args:
        dropout: in place of all its dropouts. LayerDrop is off, and nothing is ever masked.
        with_output: keep the LayerNorm after the last layer, ``Encoder.final_norm``.

    Raises:
        InputError: for a specification that builds no encoder, or a dropout that is no probability.
    """
    if spec.kind not in KINDS or spec.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"an encoder {spec.kind!r} at {spec.sample_rate_hz} Hz: choose one of {', '.join(KINDS)} at "
            f"{SAMPLE_RATE_HZ} Hz"
        )
    with refusals_named(spec.kind):
        return _build(spec, dropout, with_output)


def load_encoder(path: str | Path, dropout: float = 0.0, with_output: bool = False) -> Encoder:
    """The encoder of a checkpoint, in eval mode, its parameters free to train.

    Args:
        path: checkpoint of fairseq's with ``wav2vec2_summarymixing``, ``wav2vec2`` or ``hubert`` in it, pre-trained,
            or fine-tuned for CTC, sequence to sequence or classification; read without running code of its own.
        dropout: see ``random_encoder``.
        with_output: keep the LayerNorm after the last layer, by which ``Encoder.extract`` gives the "output"; see
            ``random_encoder``.

    Raises:
        InputError: for a file that is missing, no checkpoint, of another model or form of one, of an encoder at
            another sample rate than 16 kHz, or with weights that do not fit its configuration.
    """
    path = Path(path)
    return encoder_in(load_safely(path), path, dropout, with_output)


def encoder_in(state: Any, path: Path, dropout: float = 0.0, with_output: bool = False) -> Encoder:
    """``load_encoder`` of what ``load_safely`` gave."""
    weights = weights_of(state, path)
    with refusals_named(path):
        spec, prefix = _read_spec(state, path)
        check_proportion(num_parameters(spec), weights, path)
        encoder = _build(spec, dropout, with_output)
    weights = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
    load_weights(encoder, encoder.own_weights(weights, spec, with_output), path)
    return encoder.eval()


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """The frozen encoder of a checkpoint, pre-trained or fine-tuned: ``load_model(path).extract(wave)``.

    Raises:
        InputError: as ``load_encoder``.
    """
    return load_encoder(path, with_output=True).requires_grad_(False).to(device)
