"""Only models that we know are built from a checkpoint, of fields that we know: nothing else of it is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from encoder_checkpoints import configuration, fine_tune, letters, stock_model
from encoder_checkpoints import save as save_in_test
from fairseq import checkpoint_utils
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2AsrConfig, Wav2VecEncoder
from omegaconf import OmegaConf
from omegaconf.nodes import AnyNode

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.safetensors_file import write_safetensors
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.system.errors import InputError

HISTORY = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 3}]
KINDS = ("wav2vec2", "wav2vec2_summarymixing")
OTHER_TASKS = ("multilingual_translation", "online_backtranslation", "translation_multi_simple_epoch")


def save_state(*arguments, **changes) -> Path:
    return save_in_test(*arguments, **{"optimizer_history": HISTORY, **changes})


@pytest.fixture
def ran(tmp_path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def code(ran) -> str:
    return f"__import__('pathlib').Path({str(ran)!r}).touch() or [(12, 10, 5)]"


def start_fine_tuning(path: Path) -> Wav2VecEncoder:
    """What fairseq's fine-tuning does with ``model.w2v_path``."""
    cfg = OmegaConf.structured(Wav2Vec2AsrConfig(w2v_path=str(path), normalize=False, data="gone"))
    cfg.no_pretrained_weights = True
    cfg.ddp_backend = "legacy_ddp"
    return Wav2VecEncoder(cfg, 5)


def hostile(kind: str, attack: str, code: str, path: Path, tiny_model, form: str = "cfg") -> Path:
    model = tiny_model() if kind == KINDS[1] else stock_model(kind)
    config = configuration(model, kind)
    if attack == "code":
        config["model"]["conv_feature_layers"] = code
    elif attack == "reference":
        config["model"]["conv_feature_layers"] = "${task.labels}"
        config["task"]["labels"] = code
    elif attack == "node":
        config["model"]["conv_feature_layers"] = AnyNode(code)
    elif attack == "task":
        config["task"] = {
            **config["task"],
            "_name": "multilingual_translation",
            "task": "multilingual_translation",
            "left_pad_source": code,
        }
    elif attack == "criterion":
        config["criterion"] = {"_name": "ctc", "wer_args": code}
        config["optimizer"] = {"_name": "adam", "adam_betas": code}
    return save_state(path, config, model.state_dict(), form)


@pytest.mark.parametrize(
    ("kind", "form"), [*((KINDS[0], form) for form in ("cfg", "omegaconf", "args")), (KINDS[1], "cfg")]
)
@pytest.mark.parametrize("attack", ["code", "reference", "node", "task", "criterion"])
def test_no_code_of_a_pretrained_file_runs(kind, attack, form, tmp_path, code, ran, tiny_model):
    if attack == "criterion" and form == "args":
        pytest.skip("arguments have no sections")
    path = hostile(kind, attack, code, tmp_path / "hostile.pt", tiny_model, form)
    readers = (
        load_safely,
        load_model,
        start_fine_tuning,
        lambda path: checkpoint_utils.load_model_ensemble([str(path)]),
    )
    for read in readers:
        try:
            read(path)
        except InputError as error:
            assert "\n" not in str(error) and "hostile.pt" in str(error)
            assert attack in ("code", "node", "reference"), error  # what is not looked at refuses nothing
        except RuntimeError as error:  # the field is left out: weights do not fit the default
            assert attack == "reference" and "size mismatch" in str(error)
        assert not ran.exists()


@pytest.mark.parametrize("task", OTHER_TASKS)
def test_no_task_of_a_file_is_set_up(task, tmp_path, code, ran, tiny_model):
    """Their fields are evaluated when fairseq sets them up: in a pre-trained file, in w2v_args, in safetensors too."""
    fields = {"_name": task, "task": task, "left_pad_source": code, "left_pad_target": "False", "lang_pairs": "a-b"}
    model = tiny_model()
    config = configuration(model, KINDS[1])
    config["task"].update(fields)
    whole, ctc = fine_tune(model, KINDS[1], tmp_path)
    whole["model"]["w2v_args"]["task"].update(fields)
    path = save_state(tmp_path / "p.pt", config, model.state_dict())
    tuned = save_state(tmp_path / "f.pt", whole, ctc.state_dict(), task_state={"target_dictionary": letters()})
    for one in (path, tuned):
        write_safetensors(load_safely(one), one.with_suffix(".safetensors"))
    for one in (path, path.with_suffix(".safetensors")):
        assert checkpoint_utils.load_checkpoint_to_cpu(str(one), {})["cfg"]["task"]["_name"] == "speech_pretraining"
    start_fine_tuning(path)
    load_fine_tuned(tuned.with_suffix(".safetensors"))
    assert not ran.exists()


@pytest.mark.parametrize("value", [b"code", bytearray(b"code"), {"code"}, AnyNode("code"), 1j, Path("code")])
def test_no_values_but_plain_ones(value, tmp_path, tiny_model):
    model = tiny_model()
    config = configuration(model, KINDS[1])
    config["model"]["conv_feature_layers"] = value
    path = save_state(tmp_path / "v.pt", config, model.state_dict())
    if isinstance(value, AnyNode):  # looked into, as untyped trees of OmegaConf's have it
        assert load_safely(path)["cfg"]["model"]["conv_feature_layers"] == "code"
    else:
        with pytest.raises(InputError, match=r"v\.pt is not a checkpoint that can be loaded safely"):
            load_safely(path)


@pytest.mark.parametrize("attack", ["code", "reference", "task"])
def test_no_code_of_a_fine_tuned_file_runs(attack, tmp_path, code, ran, tiny_model):
    config, model = fine_tune(tiny_model(), KINDS[1], tmp_path)
    inner = config["model"]["w2v_args"]
    if attack == "task":
        inner["task"].update(_name="multilingual_translation", task="multilingual_translation", left_pad_source=code)
    else:
        inner["model"]["conv_feature_layers"] = code if attack == "code" else "${task.labels}"
        inner["task"]["labels"] = code
    path = save_state(tmp_path / "f.pt", config, model.state_dict(), task_state={"target_dictionary": letters()})
    try:
        load_fine_tuned(path)
    except InputError:
        assert attack == "code"
    assert not ran.exists()


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${${task.a}:HOME}", "${oc.${task.b}:HOME}", "x ${oc.env:HOME} y"])
def test_resolvers_however_nested_are_refused(value, tmp_path, tiny_model):
    model = tiny_model()
    for form in ("cfg", "args"):
        config = configuration(model, KINDS[1], a="oc.env", b="env", labels=value)
        path = save_state(tmp_path / "r.pt", config, model.state_dict(), form)
        with pytest.raises(InputError, match="would be run as code: refused"):
            load_safely(path)


def test_export_writes_no_environment(tmp_path, tiny_model, monkeypatch):
    """A resolver built of two fields, each harmless."""
    monkeypatch.setenv("SECRET", "secret-value")
    model = tiny_model()
    config = configuration(model, KINDS[1], labels="${task.a}", a="${task.b}", b="{oc.env")
    path = save_state(tmp_path / "r.pt", config, model.state_dict())
    write_safetensors(load_safely(path), tmp_path / "out.safetensors")
    content = (tmp_path / "out.safetensors").read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    assert b"secret-value" not in header and b"${" not in header


def test_honest_files_are_still_fine_tuned(tmp_path, tiny_model):
    """Ours and fairseq's, as saved today and until 2020, with references that were saved as text."""
    for kind in KINDS:
        for form in ("cfg", "args", "omegaconf"):
            model = tiny_model() if kind == KINDS[1] else stock_model(kind)
            config = configuration(model, kind)
            if form != "args":
                config["model"]["normalize"] = "${task.normalize}"
            else:
                config["model"]["latent_temp"] = "(2,0.5,0.999995)"
            encoder = start_fine_tuning(save_state(tmp_path / "h.pt", config, model.state_dict(), form))
            assert encoder.w2v_model.cfg.encoder_embed_dim == model.cfg.encoder_embed_dim


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_layers": "many"}, "encoder_layers"),
        ({"encoder_layers": -3}, "encoder_layers"),
        ({"conv_bias": [1]}, "conv_bias"),
        ({"encoder_layers": 10**7}, "parameters"),
        ({"latent_vars": 2**40}, "parameters"),
        ({"_name": "data2vec_multi"}, "only pre-trained models are built"),
    ],
)
def test_fields_are_checked_before_a_model_is_built(change, message, tmp_path):
    model = stock_model("wav2vec2")
    config = configuration(model, "wav2vec2")
    config["model"].update(change)
    path = save_state(tmp_path / "w.pt", config, model.state_dict())
    with pytest.raises(InputError, match=message) as error:
        start_fine_tuning(path)
    assert "\n" not in str(error.value)


def test_weights_alone_are_read_of_other_models(tmp_path):
    """A run of another model that goes on, or a component of it: its configuration is not used."""
    path = save_state(tmp_path / "o.pt", {"model": {"_name": "transformer"}}, {"w": torch.zeros(2)})
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert state["cfg"] is None and state["model"]["w"].shape == (2,)
