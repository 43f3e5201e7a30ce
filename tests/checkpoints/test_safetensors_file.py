"""Checkpoints as safetensors: all that the commands and fine-tuning need, and nothing that could run."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from encoder_checkpoints import OURS, configuration, fine_tune, letters, save, stock_model
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


def exported(path, *options) -> str:
    output = path.with_suffix(".safetensors")
    assert main(["export", str(path), str(output), *options]) == 0
    return output


def test_an_exported_encoder_gives_the_same_features(pretrained, speech):
    path = pretrained[1]()
    output = exported(path)
    assert torch.equal(load_model(output).extract(speech[0]), load_model(path).extract(speech[0]))
    assert output.stat().st_size < path.stat().st_size
    assert sorted(load_file(output)) == sorted(load_safely(path)["model"])


def test_fine_tuning_starts_from_it(pretrained, speech):
    """fairseq's own CTC model, which reads ``model.w2v_path`` by fairseq's function."""
    model, save = pretrained
    output = exported(save())
    state = checkpoint_utils.load_checkpoint_to_cpu(str(output), {"dropout": 0.0})
    assert state["optimizer_history"][-1]["num_updates"] == 3 and state["cfg"].model.dropout == 0.0
    changes = {"w2v_path": str(output), "data": "x", "normalize": False, "ddp_backend": "legacy_ddp"}
    cfg = OmegaConf.create({**asdict(Wav2Vec2CtcConfig()), **changes})
    ctc = Wav2VecCtc.build_model(cfg, SimpleNamespace(target_dictionary=letters()))
    weights = dict(ctc.w2v_encoder.w2v_model.named_parameters())
    assert torch.equal(weights["encoder.layers.0.ffn1.norm.weight"], model.encoder.layers[0].ffn1.norm.weight)


def test_a_fine_tuned_model_keeps_its_letters(pretrained, tmp_path):
    alphabet = letters("AŴ|")
    config, ctc = fine_tune(pretrained[0], OURS, tmp_path, alphabet)
    path = save(tmp_path / "ctc.pt", config, ctc.state_dict(), task_state={"target_dictionary": alphabet})
    loaded = load_fine_tuned(exported(path))
    dictionary = loaded.dictionary
    assert dictionary.symbols == alphabet.symbols and dictionary.count == alphabet.count
    assert (dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.unk()) == (0, 1, 2, 3)
    assert dictionary.index("Ŵ") == alphabet.index("Ŵ") and dictionary.index("Z") == dictionary.unk()
    source = torch.randn(1, 16_000)
    assert torch.equal(loaded(source), ctc.eval()(source=source, padding_mask=None)["encoder_out"])


def test_classes_without_special_symbols(pretrained, tmp_path):
    state = load_safely(pretrained[1]())
    classes = Dictionary(add_special_symbols=False)
    classes.add_symbol("happy", 3)
    write_safetensors({**state, "task_state": {"target_dictionary": classes}}, tmp_path / "probe.safetensors")
    read = read_safetensors(tmp_path / "probe.safetensors")["task_state"]["target_dictionary"]
    assert read.symbols == ["happy"] and read.count == [3] and not hasattr(read, "bos_index")


def test_an_output_that_is_there_is_kept(pretrained, capsys):
    path = pretrained[1]()
    output = exported(path)
    before = output.read_bytes()
    assert main(["export", str(path), str(output)]) == 1
    assert "is there already" in capsys.readouterr().err and output.read_bytes() == before
    assert exported(path, "--force") and output.read_bytes() == before


def test_another_ending_is_refused(pretrained, capsys):
    path = pretrained[1]()
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
    path = pretrained[1]()
    whole = exported(path).read_bytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": [25 * 10**9], "data_offsets": [0, 10**11]}}).encode()
    for content in (b"", whole[:100], whole[:-1], np.int64(len(header)).tobytes() + header):
        (tmp_path / "damaged.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"damaged\.safetensors is not a safetensors file that can be read"):
            load_safely(tmp_path / "damaged.safetensors")
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        load_safely(tmp_path / "none.safetensors")


def test_a_resolver_in_its_configuration_is_refused(pretrained, tmp_path):
    state = load_safely(pretrained[1]())
    config = {"model": {"conv_feature_layers": "${oc.env:HOME}"}}
    write_safetensors({**state, "cfg": config}, tmp_path / "code.safetensors")
    with pytest.raises(InputError, match=r"would be run as code: refused"):
        load_safely(tmp_path / "code.safetensors")


def test_configurations_of_until_2020(tmp_path):
    model = stock_model("wav2vec2")
    path = save(tmp_path / "old.pt", configuration(model, "wav2vec2"), model.state_dict(), "args")
    write_safetensors(load_safely(path), path.with_suffix(".safetensors"))
    assert load_model(path.with_suffix(".safetensors")).spec == load_model(path).spec
