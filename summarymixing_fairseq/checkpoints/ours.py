"""Reading fairseq checkpoints that hold our model, pre-trained or fine-tuned, and nothing that could run code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from ..data.dictionary import load_dictionary
from ..models.config import Wav2Vec2SummaryMixingConfig, num_parameters, validate
from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..system.errors import InputError
from ..system.finite import check_finite
from .untrusted_file import load_safely

MODEL_NAME = "wav2vec2_summarymixing"
# where fairseq's CTC model keeps ours
CTC_PREFIX = "w2v_encoder.w2v_model."
# A configuration may ask for this many parameters more than there are weights: some come without pre-training's heads.
SPARE_PARAMETERS = 2**24
# what our modules, fairseq's and omegaconf raise over a configuration
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OmegaConfBaseException,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: fairseq's whole configuration as plain containers, and the weights."""

    path: Path
    config: dict[str, Any]
    weights: dict[str, torch.Tensor]
    task_state: dict[str, Any]

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it is a CTC model on top of ours."""
        return self.config["model"]["_name"] == "wav2vec_ctc"


def weights_of(state: Any, path: Path) -> dict[str, torch.Tensor]:
    """The model's weights in what ``load_safely`` gave.

    Raises:
        InputError: where there are none.
    """
    weights = _dict(state, "model")
    if not weights or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise no_fairseq_checkpoint(path)
    check_finite(weights, path)
    return weights


def no_fairseq_checkpoint(path: Path) -> InputError:
    """The error of a file that torch reads but fairseq did not write."""
    return InputError(f"{path} is not a checkpoint of fairseq's (no configuration and weights in it)")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, of ``torch.save`` or safetensors.

    Raises:
        InputError: for a file that is missing, no checkpoint, unsafe (see ``load_safely``), or of another model.
    """
    state = load_safely(path)
    config = _dict(state, "cfg")
    weights = weights_of(state, path)
    model_config = _dict(config, "model")
    if not model_config:
        raise no_fairseq_checkpoint(path)
    encoder_name = model_config.get("_name")
    if encoder_name == "wav2vec_ctc":
        encoder_name = _dict(_dict(model_config, "w2v_args"), "model").get("_name")
    if encoder_name != MODEL_NAME:
        raise InputError(f"{path} is a checkpoint of {encoder_name!r}, not of {MODEL_NAME!r}")
    return Checkpoint(Path(path), config, weights, _dict(state, "task_state"))


def _dict(container: Any, key: str) -> dict[str, Any]:
    """The dictionary at ``key``, or an empty one where there is none."""
    value = container.get(key) if isinstance(container, dict) else None
    return value if isinstance(value, dict) else {}


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Put weights into a model that must have just these.

    Raises:
        InputError: for a weight too many, missing, or of another size.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: weights do not fit its configuration: {first[:200]}") from None


def check_proportion(num_wanted: int, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Compare what a configuration asks for with the weights beside it, before any is allocated.

    Args:
        num_wanted: parameters that the configuration builds, roughly.

    Raises:
        InputError: for several times as many as there are: of the wrong file, or made to fill the memory.
    """
    num_weights = sum(weight.numel() for weight in weights.values())
    if num_wanted > 4 * num_weights + SPARE_PARAMETERS:
        raise InputError(
            f"{path}: its configuration builds a model of some {num_wanted:.1e} parameters, but it holds "
            f"{num_weights:.1e}: refused"
        )


def our_config(config: dict[str, Any], weights: dict[str, torch.Tensor], path: Path) -> Any:
    """Our model's configuration in a checkpoint, valid and of the size of its weights.

    Raises:
        InputError: for one that is too large; ValueError, or what omegaconf raises, for one that is not valid.
    """
    merged = over_defaults(Wav2Vec2SummaryMixingConfig(), config)
    validate(merged)
    check_proportion(num_parameters(merged), weights, path)
    return merged


def over_defaults(defaults: Any, config: dict[str, Any]) -> Any:
    """Configuration of a checkpoint over today's defaults; fields that are gone since are left out."""
    known = {name: value for name, value in config.items() if name in defaults.__dataclass_fields__}
    return OmegaConf.merge(OmegaConf.structured(defaults), known)


@contextmanager
def refusals_named(name: Any) -> Iterator[None]:
    """Turn what a configuration can be refused for into an InputError that begins with ``name``, a file's path."""
    try:
        yield
    except InputError:
        raise
    except REFUSALS as error:
        reason = " ".join(filter(None, (getattr(error, "full_key", None), str(error).strip().split("\n")[0])))
        raise InputError(f"{name}: its configuration does not build a model: {reason[:200]}") from None


def build_encoder_model(checkpoint: Checkpoint) -> Wav2Vec2SummaryMixingModel:
    """Our model out of a pre-trained or a fine-tuned checkpoint, in eval mode, without its pre-training heads.

    Raises:
        InputError: for a configuration that builds no model, or weights that do not fit it.
    """
    config, weights = checkpoint.config["model"], checkpoint.weights
    if checkpoint.is_fine_tuned:
        config = config["w2v_args"]["model"]
        weights = {n[len(CTC_PREFIX) :]: w for n, w in weights.items() if n.startswith(CTC_PREFIX)}
    with refusals_named(checkpoint.path):
        model = Wav2Vec2SummaryMixingModel(our_config(config, weights, checkpoint.path))
    # its weights may be there or not: what is None is neither missed nor refused
    model.remove_pretraining_modules()
    load_weights(model, weights, checkpoint.path)
    return model.eval().requires_grad_(False)


def build_ctc_model(checkpoint: Checkpoint, dictionary: Dictionary) -> Wav2VecCtc:
    """fairseq's CTC model with ours inside, in eval mode. Neither its data nor the pre-trained file is needed.

    Raises:
        InputError: for a dictionary of another size, or weights that do not fit the configuration.
    """
    with refusals_named(checkpoint.path):
        num_outputs = checkpoint.weights["w2v_encoder.proj.weight"].size(0)
    if num_outputs != len(dictionary):
        raise InputError(
            f"the dictionary has {len(dictionary)} symbols, {checkpoint.path} {num_outputs} outputs: not of this model"
        )
    with refusals_named(checkpoint.path):
        our_config(checkpoint.config["model"]["w2v_args"]["model"], checkpoint.weights, checkpoint.path)
        config = over_defaults(Wav2Vec2CtcConfig(), checkpoint.config["model"])
        model = Wav2VecCtc.build_model(config, SimpleNamespace(target_dictionary=dictionary))
    load_weights(model, checkpoint.weights, checkpoint.path)
    return model.eval().requires_grad_(False)


def letter_dictionary(checkpoint: Checkpoint, path: Path | None = None) -> Dictionary:
    """The dictionary that a fine-tuned checkpoint carries, or the one at ``path``.

    Raises:
        InputError: if the checkpoint is not fine-tuned or carries none, or the file is no dictionary.
    """
    if not checkpoint.is_fine_tuned:
        raise InputError(f"{checkpoint.path} is pre-trained only: fine-tune it first (examples/finetuning)")
    if path is not None:
        return load_dictionary(path)
    dictionary = checkpoint.task_state.get("target_dictionary")
    if not isinstance(dictionary, Dictionary):
        raise InputError(f"{checkpoint.path} carries no dictionary: give the one it was trained with by --dictionary")
    return dictionary
