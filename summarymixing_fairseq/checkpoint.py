"""Reading fairseq checkpoints that hold our model, pre-trained or fine-tuned, and nothing that could run code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.models.wav2vec.wav2vec2_asr import Wav2VecCtc, Wav2Vec2CtcConfig
from omegaconf import OmegaConf

from .errors import InputError
from .models.config import Wav2Vec2SummaryMixingConfig
from .models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from .registration import allow_fairseq_dictionary

MODEL_NAME = "wav2vec2_summarymixing"
# where fairseq's CTC model keeps ours
CTC_PREFIX = "w2v_encoder.w2v_model."


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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint with ``weights_only=True``.

    Raises:
        InputError: for a file that is missing, no checkpoint, or of another model.
    """
    allow_fairseq_dictionary()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # torch raises half a dozen types here, depending on where a file goes wrong
        reason = "it holds more than tensors and plain containers" if "weights_only" in str(error) else "is it one?"
        raise InputError(f"{path} is not a checkpoint that can be loaded safely: {reason}") from None
    if not isinstance(state, dict) or not isinstance(state.get("cfg"), dict) or "model" not in state:
        raise InputError(f"{path} is not a checkpoint of fairseq's (no configuration and weights in it)")
    config = state["cfg"]
    name = (config.get("model") or {}).get("_name")
    encoder_name = name
    if name == "wav2vec_ctc":
        w2v_args = config["model"].get("w2v_args") or {}
        encoder_name = (w2v_args.get("model") or {}).get("_name")
    if encoder_name != MODEL_NAME:
        raise InputError(f"{path} is a checkpoint of {encoder_name!r}, not of {MODEL_NAME!r}")
    return Checkpoint(Path(path), config, state["model"], state.get("task_state") or {})


def _load_weights(model: BaseFairseqModel, weights: dict[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{checkpoint.path}: weights do not fit its configuration: {first[:200]}") from None
    model.eval().requires_grad_(False)


def _merge(defaults: Any, config: dict[str, Any]) -> Any:
    """Configuration of a checkpoint over today's defaults; fields that are gone since are left out."""
    known = {name: value for name, value in config.items() if name in defaults.__dataclass_fields__}
    return OmegaConf.merge(OmegaConf.structured(defaults), known)


def build_encoder_model(checkpoint: Checkpoint) -> Wav2Vec2SummaryMixingModel:
    """Our model out of a pre-trained or a fine-tuned checkpoint, in eval mode, without its pre-training heads.

    Raises:
        InputError: for weights that do not fit the configuration.
    """
    config, weights = checkpoint.config["model"], checkpoint.weights
    if checkpoint.is_fine_tuned:
        config = config["w2v_args"]["model"]
        weights = {n[len(CTC_PREFIX) :]: w for n, w in weights.items() if n.startswith(CTC_PREFIX)}
    model = Wav2Vec2SummaryMixingModel(_merge(Wav2Vec2SummaryMixingConfig(), config))
    # its weights may be there or not: what is None is neither missed nor refused
    model.remove_pretraining_modules()
    _load_weights(model, weights, checkpoint)
    return model


def build_ctc_model(checkpoint: Checkpoint, dictionary: Dictionary) -> Wav2VecCtc:
    """fairseq's CTC model with ours inside, in eval mode. Neither its data nor the pre-trained file is needed.

    Raises:
        InputError: for a dictionary of another size, or weights that do not fit the configuration.
    """
    num_outputs = checkpoint.weights["w2v_encoder.proj.weight"].size(0)
    if num_outputs != len(dictionary):
        raise InputError(
            f"the dictionary has {len(dictionary)} symbols, {checkpoint.path} {num_outputs} outputs: not of this model"
        )
    config = _merge(Wav2Vec2CtcConfig(), checkpoint.config["model"])
    model = Wav2VecCtc.build_model(config, SimpleNamespace(target_dictionary=dictionary))
    _load_weights(model, checkpoint.weights, checkpoint)
    return model


def letter_dictionary(checkpoint: Checkpoint, path: Optional[Path] = None) -> Dictionary:
    """The dictionary that a fine-tuned checkpoint carries, or the one at ``path``.

    Raises:
        InputError: if the checkpoint is not fine-tuned or carries none, or the file is no dictionary.
    """
    if not checkpoint.is_fine_tuned:
        raise InputError(f"{checkpoint.path} is pre-trained only: fine-tune it first (examples/finetuning)")
    if path is not None:
        try:
            return Dictionary.load(str(path))
        except (OSError, ValueError) as error:
            raise InputError(f"dictionary {path} cannot be read: {error}") from None
    dictionary = checkpoint.task_state.get("target_dictionary")
    if not isinstance(dictionary, Dictionary):
        raise InputError(f"{checkpoint.path} carries no dictionary: give the one it was trained with by --dictionary")
    return dictionary
