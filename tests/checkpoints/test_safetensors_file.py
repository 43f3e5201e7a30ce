"""Checkpoints as safetensors: all that the commands and fine-tuning need, and nothing that could run."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.safetensors_file import read_safetensors, write_safetensors
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def pretrained(tmp_path, tiny_model):
    """Path of a pre-trained checkpoint, its model, and the state in it."""
    model = tiny_model()
    config = {**asdict(model.cfg), "_name": "wav2vec2_summarymixing"}
    task = {"_name": "speech_pretraining", "data": "nowhere", "normalize": False}
    state = {
        "args": None,
        "cfg": {"model": config, "task": task, "common": {}},
        "model": model.state_dict(),
        "optimizer_history": [
            {"num_updates": 12, "criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "task_state": {},
    }
    torch.save(state, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt", model, state


def exported(path, *options) -> str:
    output = path.with_suffix(".safetensors")
    assert main(["export", str(path), str(output), *options]) == 0
    return output


def test_an_exported_encoder_gives_the_same_features(pretrained, speech):
    path, _, _ = pretrained
    output = exported(path)
    assert torch.equal(load_model(output).extract(speech[0]), load_model(path).extract(speech[0]))
    assert output.stat().st_size < path.stat().st_size
    assert sorted(load_file(output)) == sorted(load_safely(path)["model"])


def test_fine_tuning_starts_from_it(pretrained, speech):
    """fairseq's own CTC model, which reads ``model.w2v_path`` by fairseq's function."""
    path, model, _ = pretrained
    output = exported(path)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(output), {"dropout": 0.0})
    assert state["optimizer_history"][-1]["num_updates"] == 12 and state["cfg"].model.dropout == 0.0
    letters = Dictionary()
    letters.add_symbol("A")
    changes = {"w2v_path": str(output), "data": "x", "normalize": False, "ddp_backend": "legacy_ddp"}
    cfg = OmegaConf.create({**asdict(Wav2Vec2CtcConfig()), **changes})
    ctc = Wav2VecCtc.build_model(cfg, SimpleNamespace(target_dictionary=letters))
    weights = dict(ctc.w2v_encoder.w2v_model.named_parameters())
    assert torch.equal(weights["encoder.layers.0.ffn1.norm.weight"], model.encoder.layers[0].ffn1.norm.weight)


def test_a_fine_tuned_model_keeps_its_letters(pretrained, tmp_path):
    path, model, state = pretrained
    letters = Dictionary()
    for letter in ("A", "Ŵ", "|"):
        letters.add_symbol(letter, 7)
    config = {"_name": "wav2vec_ctc", "w2v_args": state["cfg"], "data": "x", "normalize": False}
    ctc = Wav2VecCtc.build_model(
        OmegaConf.create({**asdict(Wav2Vec2CtcConfig()), **config}),
        SimpleNamespace(target_dictionary=letters),
    )
    fine_tuned = {
        **state,
        "cfg": {"model": config},
        "model": ctc.state_dict(),
        "task_state": {"target_dictionary": letters},
    }
    torch.save(fine_tuned, tmp_path / "ctc.pt")
    loaded = load_fine_tuned(exported(tmp_path / "ctc.pt"))
    dictionary = loaded.dictionary
    assert dictionary.symbols == letters.symbols and dictionary.count == letters.count
    assert (dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.unk()) == (0, 1, 2, 3)
    assert dictionary.index("Ŵ") == letters.index("Ŵ") and dictionary.index("Z") == dictionary.unk()
    assert all(torch.equal(value, ctc.state_dict()[name]) for name, value in loaded.model.state_dict().items())


def test_classes_without_special_symbols(pretrained, tmp_path):
    _, _, state = pretrained
    classes = Dictionary(add_special_symbols=False)
    classes.add_symbol("happy", 3)
    write_safetensors({**state, "task_state": {"target_dictionary": classes}}, tmp_path / "probe.safetensors")
    read = read_safetensors(tmp_path / "probe.safetensors")["task_state"]["target_dictionary"]
    assert read.symbols == ["happy"] and read.count == [3] and not hasattr(read, "bos_index")


def test_an_output_that_is_there_is_kept(pretrained, capsys):
    path, _, _ = pretrained
    output = exported(path)
    before = output.read_bytes()
    assert main(["export", str(path), str(output)]) == 1
    assert "is there already" in capsys.readouterr().err and output.read_bytes() == before
    assert exported(path, "--force") and output.read_bytes() == before


def test_another_ending_is_refused(pretrained, capsys):
    path, _, _ = pretrained
    assert main(["export", str(path), str(path.with_suffix(".bin"))]) == 1
    assert "name it FILE.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"summarymixing_fairseq": "{"},
        {"summarymixing_fairseq": "[]"},
        {"summarymixing_fairseq": json.dumps({"cfg": {}, "dictionary": {"symbols": ["a", "a"], "count": [1, 1]}})},
        {"summarymixing_fairseq": json.dumps({"cfg": {}, "dictionary": {"symbols": [1]}, "num_updates": 1})},
        {"summarymixing_fairseq": "[" * 100_000},
    ],
)
def test_weights_of_others_without_a_configuration(metadata, tmp_path):
    save_file({"w": torch.zeros(3)}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(InputError, match=r"x\.safetensors holds weights without the configuration") as error:
        load_model(tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


def test_damaged_files(pretrained, tmp_path):
    path, _, _ = pretrained
    whole = exported(path).read_bytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": [25 * 10**9], "data_offsets": [0, 10**11]}}).encode()
    for content in (b"", whole[:100], whole[:-1], np.int64(len(header)).tobytes() + header):
        (tmp_path / "damaged.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"damaged\.safetensors is not a safetensors file that can be read"):
            load_safely(tmp_path / "damaged.safetensors")
    with pytest.raises(InputError, match=r"no such file"):
        load_safely(tmp_path / "none.safetensors")


def test_code_in_its_configuration_is_refused(pretrained, tmp_path):
    _, _, state = pretrained
    config = {"model": {"conv_feature_layers": "exec('1')"}}
    write_safetensors({**state, "cfg": config}, tmp_path / "code.safetensors")
    with pytest.raises(InputError, match=r"would be run as code: refused"):
        load_safely(tmp_path / "code.safetensors")
