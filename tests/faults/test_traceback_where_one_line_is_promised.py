"""Files that torch or fairseq end in a traceback over."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import configuration, fine_tune, letters, save
from fairseq import checkpoint_utils

from summarymixing_fairseq.checkpoints.encoders import load_encoder, load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.data.ctc_decoding import BeamDecoder
from summarymixing_fairseq.system.errors import InputError

OURS = "wav2vec2_summarymixing"
TENSORS = {
    "float8": lambda: torch.zeros(3).to(torch.float8_e4m3fn),
    "meta": lambda: torch.zeros(3, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "uint16": lambda: torch.zeros(3, dtype=torch.uint16),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize(
    "read",
    [load_encoder, load_model, load_fine_tuned, lambda path: checkpoint_utils.load_checkpoint_to_cpu(str(path))],
    ids=["encoder", "model", "fine_tuned", "fairseq"],
)
def test_tensors_that_no_model_has(kind, read, tmp_path, tiny_model):
    model = tiny_model()
    weights = {**model.state_dict(), "mask_emb": TENSORS[kind]()}
    path = save(tmp_path / "odd.pt", configuration(model, OURS), weights)
    with pytest.raises(InputError, match=r"odd\.pt is not a checkpoint that can be loaded safely") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_fine_tuned_checkpoint_to_fine_tune(tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    path = save(tmp_path / "f.pt", config, model.state_dict(), task_state={"target_dictionary": letters()})
    with pytest.raises(InputError, match=r"f\.pt is a checkpoint of 'wav2vec_ctc': only pre-trained models"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path), {"dropout": 0.0})  # as fairseq reads model.w2v_path


@pytest.mark.parametrize("content", [b"\x9b\xff" * 500, b"\xfe", bytes(1_000), b"\x1f\x8b" + bytes(300), b"\\data\\\n"])
def test_a_language_model_of_other_bytes(content, tmp_path):
    """With a lexicon; without one it is read as text first."""
    (tmp_path / "lm.bin").write_bytes(content)
    (tmp_path / "lexicon.txt").write_text("ab\ta b |\n")
    for lexicon in (tmp_path / "lexicon.txt", None):
        with pytest.raises(InputError, match=r"lm\.bin (cannot be read|is no ARPA file)") as error:
            BeamDecoder(letters("ab|"), tmp_path / "lm.bin", lexicon)
        assert "\n" not in str(error.value)


def test_a_dictionary_with_one_symbol_more(tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    path = save(tmp_path / "f.pt", config, model.state_dict(), task_state={"target_dictionary": letters("AB")})
    with pytest.raises(InputError, match=r"the dictionary has 6 symbols, .*f\.pt 5 outputs: not of this model"):
        load_fine_tuned(path)
