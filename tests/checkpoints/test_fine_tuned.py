"""Checkpoints in fairseq's format: loaded safely, and one line about those that cannot be."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from reference import assert_near

from summarymixing_fairseq.checkpoints.encoders import load_encoder, load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.system.errors import InputError


class RunsCode:
    """What a hostile checkpoint may hold."""

    def __reduce__(self):
        return (print, ("code of the checkpoint ran",))


def dictionary_of(symbols: str) -> Dictionary:
    letters = Dictionary()
    for symbol in symbols:
        letters.add_symbol(symbol)
    return letters


@pytest.fixture
def pretrained(tmp_path, tiny_model):
    """A pre-trained model, and ``save(**changes)``: the path of its checkpoint, entries changed."""
    model = tiny_model()

    def save(**changes):
        config = {**asdict(model.cfg), "_name": "wav2vec2_summarymixing"}
        state = {"cfg": {"model": config, "task": {"normalize": False}}, "model": model.state_dict(), **changes}
        torch.save(state, tmp_path / "checkpoint.pt")
        return tmp_path / "checkpoint.pt"

    return model, save


def test_pretrained(pretrained, speech):
    model, save = pretrained
    loaded = load_model(save())
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert loaded.model.objective is None
    assert_near(
        loaded.extract(speech[3]), model.extract_features(torch.from_numpy(speech[3])[None], None)["x"][0], 1e-6
    )


def test_fields_that_came_or_went_since(pretrained):
    model, save = pretrained
    config = {**asdict(model.cfg), "_name": "wav2vec2_summarymixing", "a_field_of_yesterday": 3}
    del config["summary_activation"]
    assert load_encoder(save(cfg={"model": config})).model.cfg.summary_activation == "gelu"


def test_fine_tuned(pretrained, tmp_path, speech):
    """As fairseq saves one: the pre-trained configuration inside ``w2v_args``, the dictionary in the task's state."""
    model, _ = pretrained
    letters = dictionary_of("AB|")
    w2v_args = {
        "model": {**asdict(model.cfg), "_name": "wav2vec2_summarymixing"},
        "task": {"_name": "speech_pretraining", "data": str(tmp_path), "normalize": False},
    }
    outside = {"w2v_path": "gone.pt", "w2v_args": w2v_args, "data": str(tmp_path)}
    outside.update(normalize=False, ddp_backend="legacy_ddp")
    config = {**asdict(Wav2Vec2CtcConfig()), **outside}
    merged = OmegaConf.merge(OmegaConf.structured(Wav2Vec2CtcConfig()), config)
    ctc = Wav2VecCtc.build_model(merged, SimpleNamespace(target_dictionary=letters)).eval()
    state = {
        "cfg": {"model": {**config, "_name": "wav2vec_ctc"}},
        "model": ctc.state_dict(),
        "task_state": {"target_dictionary": letters},
    }
    path = tmp_path / "fine_tuned.pt"
    torch.save(state, path)

    loaded = load_fine_tuned(path)
    assert loaded.dictionary.symbols == letters.symbols and loaded.post_process == "letter"
    assert not loaded.model.training
    for name, value in ctc.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    expected = ctc.w2v_encoder.w2v_model.extract_features(torch.from_numpy(speech[3])[None], None)["x"][0]
    assert_near(load_model(path).extract(speech[3]), expected, 1e-5)

    (tmp_path / "dict.ltr.txt").write_text("A 3\nB 2\nC 2\n| 2\n")
    with pytest.raises(InputError, match=r"dictionary has 8 symbols, .*fine_tuned\.pt 7 outputs"):
        load_fine_tuned(path, tmp_path / "dict.ltr.txt")
    (tmp_path / "dict.ltr.txt").write_text("A 3\nC 1\n| 2\n")
    assert load_fine_tuned(path, tmp_path / "dict.ltr.txt").dictionary.symbols[-3:] == ["A", "C", "|"]
    (tmp_path / "dict.ltr.txt").write_text("no count\n")
    for name in ("dict.ltr.txt", "none.txt"):
        with pytest.raises(InputError, match=rf"dictionary .*{name} cannot be read: "):
            load_fine_tuned(path, tmp_path / name)
    del state["task_state"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"carries no dictionary: .*--dictionary"):
        load_fine_tuned(path)


def test_pretrained_has_no_letters(pretrained):
    _, save = pretrained
    with pytest.raises(InputError, match=r"checkpoint\.pt is pre-trained only: fine-tune it first"):
        load_fine_tuned(save())


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"^checkpoint .*none\.pt cannot be read: No such file or directory$"):
        load_fine_tuned(tmp_path / "none.pt")
    with pytest.raises(InputError, match=r"cannot be read: "):
        load_fine_tuned(tmp_path)


@pytest.mark.parametrize("content", [b"", b"some text\n", b"PK\x03\x04 broken zip", b"\x80\x04\x95"])
def test_files_that_are_no_checkpoints(tmp_path, content):
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.pt is not a checkpoint that can be loaded safely") as error:
        load_fine_tuned(path)
    assert "\n" not in str(error.value)


def test_code_does_not_run(tmp_path, pretrained, capsys):
    _, save = pretrained
    with open(tmp_path / "plain.pt", "wb") as file:
        pickle.dump({"cfg": RunsCode()}, file)
    for path in (save(extra_state=RunsCode()), tmp_path / "plain.pt"):
        with pytest.raises(InputError, match=r"loaded safely \(tensors and plain containers, no code\)"):
            load_fine_tuned(path)
    assert "ran" not in capsys.readouterr().out


def test_truncated_file(pretrained):
    _, save = pretrained
    path = save()
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(InputError, match=r"is not a checkpoint that can be loaded safely"):
        load_fine_tuned(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cfg": None}, r"is not a checkpoint of fairseq's"),
        ({"cfg": {}}, r"is not a checkpoint of fairseq's"),
        ({"cfg": {"model": None}}, r"is not a checkpoint of fairseq's"),
        ({"cfg": {"model": {"_name": "wav2vec2"}}}, r"is a checkpoint of 'wav2vec2', not of"),
        ({"cfg": {"model": {"_name": "wav2vec_ctc"}}}, r"is a checkpoint of None, not of"),
        (
            {"cfg": {"model": {"_name": "wav2vec_ctc", "w2v_args": {"model": {"_name": "hubert"}}}}},
            r"is a checkpoint of 'hubert', not of",
        ),
        ({"cfg": {"model": "wav2vec2"}}, r"is not a checkpoint of fairseq's"),
    ],
)
def test_other_models(pretrained, changes, message):
    _, save = pretrained
    with pytest.raises(InputError, match=message):
        load_fine_tuned(save(**changes))


def test_a_checkpoint_that_is_no_dictionary(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list\.pt is not a checkpoint of fairseq's"):
        load_fine_tuned(tmp_path / "list.pt")


def test_weights_that_do_not_fit(pretrained):
    model, save = pretrained
    weights = model.state_dict()
    name = "post_extract_proj.bias"
    missing = {key: value for key, value in weights.items() if key != name}
    for changed, message in [
        ({**weights, name: torch.zeros(5)}, rf"size mismatch for model.{name}"),
        (missing, rf'Missing key.*"model.{name}"'),
        ({**weights, "other": torch.zeros(1)}, r'Unexpected key.*"model.other"'),
    ]:
        with pytest.raises(InputError, match=rf"weights do not fit its configuration: {message}") as error:
            load_encoder(save(model=changed))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights", [None, [1, 2]])
def test_weights_that_are_none(pretrained, weights):
    _, save = pretrained
    with pytest.raises(InputError):
        load_encoder(save(model=weights))


@pytest.mark.parametrize("changes", [{"mixer": "mamba"}, {"encoder_layers": "many"}])
def test_configuration_that_cannot_be_built(pretrained, changes):
    model, save = pretrained
    config = {**asdict(model.cfg), "_name": "wav2vec2_summarymixing", **changes}
    with pytest.raises(InputError, match=next(iter(changes))):
        load_encoder(save(cfg={"model": config}))
