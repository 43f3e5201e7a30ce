"""Files that torch or fairseq end in a traceback over."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import configuration, fine_tune, letters, save
from fairseq import checkpoint_utils
from fairseq.data import Dictionary

from summarymixing_fairseq.checkpoints.encoders import load_encoder, load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.safetensors_file import write_safetensors
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.data.ctc_decoding import BeamDecoder
from summarymixing_fairseq.data.lexicons import spelled_in_pieces
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


@pytest.mark.parametrize("value", [1.5, None, [], {"a": 1}, "text"])
def test_weights_that_are_none(value, tmp_path, tiny_model):
    model = tiny_model()
    path = save(tmp_path / "w.pt", configuration(model, OURS), {**model.state_dict(), "mask_emb": value})
    for read in (load_encoder, load_fine_tuned, lambda path: checkpoint_utils.load_model_ensemble([str(path)])):
        with pytest.raises(InputError, match=r"w\.pt") as error:
            read(path)
        assert "\n" not in str(error.value)


# changes of a dictionary's fields, None for one without any; and the message
DICTIONARIES = {
    "no fields": (None, "symbols is no list of str"),
    "no symbols": ({"symbols": None}, "symbols is no list of str"),
    "symbols of numbers": ({"symbols": [1, 2]}, "symbols is no list of str"),
    "a tensor": ({"symbols": torch.zeros(5)}, "symbols is no list of str"),
    "no counts": ({"count": []}, "symbols, count and indices differ"),
    "counts of text": ({"count": ["1"] * 5}, "count is no list of int"),
    "other indices": ({"indices": {"A": 77}}, "symbols, count and indices differ"),
    "indices beyond": ({"indices": dict.fromkeys(letters().symbols, 77)}, "indices are not those of symbols"),
    "no place of padding": ({"pad_index": "1"}, "pad_index is no int"),
    "no word": ({"unk_word": 3}, "unk_word is no str"),
}


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_dictionaries_that_are_none(kind, tmp_path):
    """Found as the file is read, so by every command, fine-tuning and resuming."""
    changes, message = DICTIONARIES[kind]
    dictionary = letters()
    if changes is None:
        vars(dictionary).clear()
    vars(dictionary).update(changes or {})
    torch.save({"cfg": {}, "model": {}, "task_state": {"target_dictionary": dictionary}}, tmp_path / "d.pt")
    with pytest.raises(InputError, match=rf"d\.pt holds a dictionary of symbols that is none: {message}"):
        load_safely(tmp_path / "d.pt")


def test_a_dictionary_of_classes_under_a_ctc_model(tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    dictionary = Dictionary(add_special_symbols=False)
    for symbol in letters().symbols:
        dictionary.add_symbol(symbol)
    path = save(tmp_path / "d.pt", config, model.state_dict(), task_state={"target_dictionary": dictionary})
    with pytest.raises(InputError, match=r"d\.pt: its dictionary has no <s>, <pad>, </s> and <unk>"):
        load_fine_tuned(path)


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (["ctc"], None),  # nothing is asked of it, and letters are the default
        ("ctc", None),
        ({"post_process": "upside_down"}, "post_process='upside_down' is not one of letter"),
        ({"post_process": [1]}, r"post_process=\[1\] is not one of letter"),
    ],
)
def test_criteria_that_are_none(criterion, message, tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    config["criterion"] = criterion
    path = save(tmp_path / "c.pt", config, model.state_dict(), task_state={"target_dictionary": letters()})
    if message is None:
        assert load_fine_tuned(path).symbols.labels == "ltr"
    else:
        with pytest.raises(InputError, match=message) as error:
            load_fine_tuned(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("history", [None, [], [1.5], {}, 3, [{"num_updates": "many"}], [{}]])
def test_export_of_odd_histories(history, tmp_path):
    """A number of updates that is none is 0, and the weights are written."""
    write_safetensors(
        {"cfg": {}, "model": {"w": torch.ones(2)}, "optimizer_history": history}, tmp_path / "h.safetensors"
    )
    assert load_safely(tmp_path / "h.safetensors")["optimizer_history"][-1]["num_updates"] == 0


def test_a_fine_tuned_checkpoint_of_another_kind_to_fine_tune(tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    config["model"]["_name"] = "wav2vec_seq2seq"
    path = save(tmp_path / "f.pt", config, model.state_dict(), task_state={"target_dictionary": letters()})
    with pytest.raises(InputError, match=r"f\.pt is a checkpoint of 'wav2vec_seq2seq': only pre-trained models"):
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


def test_an_empty_model_of_pieces(tmp_path):
    pytest.importorskip("sentencepiece")
    (tmp_path / "bpe100.model").touch()
    with pytest.raises(InputError, match=r"bpe100\.model is no model of sentencepiece's"):
        spelled_in_pieces(["ab"], tmp_path / "bpe100.model")


def test_a_dictionary_with_one_symbol_more(tmp_path, tiny_model):
    config, model = fine_tune(tiny_model(), OURS, tmp_path)
    path = save(tmp_path / "f.pt", config, model.state_dict(), task_state={"target_dictionary": letters("AB")})
    with pytest.raises(InputError, match=r"f\.pt: its dictionary has 6 symbols, its weights 5 outputs"):
        load_fine_tuned(path)
