"""CTC models fine-tuned from ours, out of fairseq's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from torch import Tensor, nn

from ..data.ctc_path import BLANK
from ..data.dictionary import INDICES
from ..data.references import Symbols, symbols_of
from ..system.errors import InputError
from .contents import (
    first_of_type,
    load_weights,
    no_fairseq_checkpoint,
    refusals_named,
    section,
    sections,
    weights_of,
)
from .encoders import FINE_TUNED_PREFIXES, encoder_in, ours
from .untrusted_file import load_safely

CTC_NAME = "wav2vec_ctc"
# fairseq's names of the weights of the encoder and of the layer of scores
BODY, HEAD = FINE_TUNED_PREFIXES[CTC_NAME], "w2v_encoder.proj."


class FineTuned(nn.Module):
    """A fine-tuned model in eval mode and without gradients.

    Attributes:
        encoder: with its last LayerNorm in its model; head: scores of its output.
        dictionary: its symbols; symbols: what they stand for.
        normalize: whether each waveform is brought to mean 0 and variance 1 before the model.
    """

    def __init__(self, encoder: Any, head: nn.Linear, dictionary: Dictionary, symbols: Symbols):
        super().__init__()
        self.encoder, self.head, self.dictionary, self.symbols = encoder, head, dictionary, symbols
        self.normalize: bool = encoder.spec.normalize
        encoder.model.encoder.layer_norm = encoder.final_norm
        self.eval().requires_grad_(False)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Scores (T, B, symbols) of waveforms.

        Args:
            source: (B, num_samples) at 16 kHz, normalised where ``normalize``.
            padding_mask: (B, num_samples) bool, True = padding, at the end of a clip; or None.
        """
        x = self.encoder.model.extract_features(source, padding_mask, keep_hidden_states=False)["x"]
        return self.head(x.transpose(0, 1))  # (B, T, D) -> (T, B, D), as fairseq's: the same bits


def load_fine_tuned(path: Path) -> FineTuned:
    """Read a CTC model.

    Raises:
        InputError: for a file that is missing, no checkpoint, unsafe (see ``load_safely``) or of another model, and
            where it has no dictionary that fits.
    """
    path = Path(path)
    return fine_tuned_in(load_safely(path), path)


def fine_tuned_in(state: Any, path: Path) -> FineTuned:
    """``load_fine_tuned`` of what ``load_safely`` gave."""
    weights, config = weights_of(state, path), section(state, "cfg")
    if not section(config, "model"):
        raise no_fairseq_checkpoint(path)
    model, task = sections(config)
    encoder_name = sections(model.get("w2v_args"))[0]["_name"]
    if model["_name"] == ours.KIND:
        raise InputError(f"{path} is pre-trained only: fine-tune it first (examples/finetuning)")
    if model["_name"] != CTC_NAME or encoder_name != ours.KIND:
        found = encoder_name if model["_name"] == CTC_NAME else model["_name"]
        raise InputError(f"{path} is a checkpoint of {found!r}, not of {ours.KIND!r}")
    dictionary = section(state, "task_state").get("target_dictionary")
    if not isinstance(dictionary, Dictionary):
        raise InputError(f"{path} carries no dictionary: it is not known what its outputs are")
    if not all(hasattr(dictionary, name) for name in INDICES):
        raise InputError(f"{path}: its dictionary has no <s>, <pad>, </s> and <unk>, so it is of no CTC model")
    with refusals_named(path):
        symbols = symbols_of(task, section(config, "criterion"), dictionary.symbols)
    encoder = encoder_in(state, path, with_output=True)
    outputs = {name.replace(HEAD, "", 1): one for name, one in weights.items() if not name.startswith(BODY)}
    found = outputs["weight"].shape[:1].numel() if "weight" in outputs and outputs["weight"].dim() else 0
    if found != len(dictionary):
        raise InputError(f"{path}: its dictionary has {len(dictionary)} symbols, its weights {found} outputs")
    head = nn.Linear(encoder.state_dim, len(dictionary))
    load_weights(head, outputs, path)
    blank_weight = first_of_type("blank_weight", float, 0.0, model)
    if blank_weight and model.get("blank_mode") == "set":
        head.weight.data[BLANK] = head.bias.data[BLANK] = 0
    head.bias.data[BLANK] += blank_weight  # fairseq adds it in each pass
    return FineTuned(encoder, head, dictionary, symbols)
