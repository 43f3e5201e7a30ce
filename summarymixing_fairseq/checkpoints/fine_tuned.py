"""CTC models fine-tuned from ours, out of fairseq's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc

from .. import register
from ..data.dictionary import INDICES, difference, load_dictionary
from ..data.references import Symbols, symbols_of
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .contents import (
    load_weights,
    no_fairseq_checkpoint,
    over_defaults,
    refusals_named,
    section,
    weights_of,
)
from .encoders import ours
from .pretraining_config import pretraining_config
from .untrusted_file import load_safely

CTC_NAME = "wav2vec_ctc"


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model.

    Attributes:
        model: fairseq's, in eval mode and without gradients; neither its data nor the pre-trained file is needed.
        dictionary: its symbols; symbols: what they stand for.
        normalize: whether each waveform is brought to mean 0 and variance 1 before the model.
    """

    model: Wav2VecCtc
    dictionary: Dictionary
    symbols: Symbols
    normalize: bool


def load_fine_tuned(path: Path, dictionary_path: Path | None = None) -> FineTuned:
    """Read a CTC model.

    Args:
        path: of the checkpoint, by ``torch.save`` or safetensors.
        dictionary_path: of the dictionary, for a checkpoint that carries none. Of one that does, it must be the same.

    Raises:
        InputError: for a file that is missing, no checkpoint, unsafe (see ``load_safely``) or of another model, and
            where no dictionary fits or it is another than the checkpoint's.
    """
    path = Path(path)
    state = load_safely(path)
    config, weights = section(state, "cfg"), weights_of(state, path)
    model_config = section(config, "model")
    if not model_config:
        raise no_fairseq_checkpoint(path)
    encoder_name = section(section(model_config, "w2v_args"), "model").get("_name")
    name = model_config.get("_name")
    if name == ours.KIND:
        raise InputError(f"{path} is pre-trained only: fine-tune it first (examples/finetuning)")
    if name != CTC_NAME or encoder_name != ours.KIND:
        found = encoder_name if name == CTC_NAME else name
        raise InputError(f"{path} is a checkpoint of {found!r}, not of {ours.KIND!r}")
    sample_rate_hz = section(config, "task").get("sample_rate", SAMPLE_RATE_HZ)
    if sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"{path} was fine-tuned with task.sample_rate={sample_rate_hz!r}, where its encoder takes audio at "
            f"{SAMPLE_RATE_HZ} Hz: fine-tune it again"
        )
    carried = section(state, "task_state").get("target_dictionary")
    dictionary = carried if dictionary_path is None else load_dictionary(dictionary_path)
    if not isinstance(dictionary, Dictionary):
        raise InputError(f"{path} carries no dictionary: give the one it was trained with by --dictionary")
    if not all(hasattr(dictionary, name) for name in INDICES):
        raise InputError(f"{path}: its dictionary has no <s>, <pad>, </s> and <unk>, so it is of no CTC model")
    with refusals_named(path):
        symbols = symbols_of(section(config, "task"), section(config, "criterion"), dictionary.symbols)
        if (outputs := weights.get("w2v_encoder.proj.weight")) is None:
            raise InputError(f"{path}: its weights do not fit its configuration: no w2v_encoder.proj.weight")
        num_outputs = outputs.size(0)
        if num_outputs != len(dictionary):
            raise InputError(
                f"the dictionary has {len(dictionary)} symbols, {path} {num_outputs} outputs: not of this model"
            )
        if isinstance(carried, Dictionary) and dictionary.symbols != carried.symbols:
            raise InputError(
                f"{dictionary_path} differs from the dictionary in {path}: {difference(dictionary, carried)}"
            )
        # freeze_regex would be compiled as a regular expression: no text of the file is
        w2v_args = pretraining_config(model_config["w2v_args"], weights, path)
        merged = over_defaults(Wav2Vec2CtcConfig(), {**model_config, "w2v_args": w2v_args, "freeze_regex": None})
        register()  # fairseq builds the encoder by the name of its task
        model = Wav2VecCtc.build_model(merged, SimpleNamespace(target_dictionary=dictionary))
    load_weights(model, weights, path)
    model.eval().requires_grad_(False)
    return FineTuned(model, dictionary, symbols, section(config, "task").get("normalize") is True)
