"""Checkpoints fine-tuned from ours, and one line about those that are not."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import OURS, fine_tune, letters, save
from reference import assert_near

from summarymixing_fairseq.checkpoints.encoders import load_encoder, load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.data.references import LETTERS
from summarymixing_fairseq.models.config import layer_mixers
from summarymixing_fairseq.system.errors import InputError


def test_fields_that_came_or_went_since(pretrained):
    _, save = pretrained
    path = save({"a_field_of_yesterday": 3, "summary_activation": None})
    assert load_encoder(path).model.cfg.summary_activation == "gelu"


def test_fine_tuned(pretrained, tmp_path, speech):
    """As fairseq saves one: the pre-trained configuration inside ``w2v_args``, the dictionary in the task's state."""
    dictionary, path = letters("AB|"), tmp_path / "fine_tuned.pt"
    config, ctc = fine_tune(pretrained[0], OURS, tmp_path, dictionary)
    save(path, config, ctc.state_dict(), task_state={"target_dictionary": dictionary})
    loaded = load_fine_tuned(path)
    assert loaded.dictionary.symbols == dictionary.symbols and loaded.symbols == LETTERS
    assert not any(module.training for module in loaded.modules())
    source = torch.from_numpy(speech[3])[None]
    assert torch.equal(loaded(source), ctc.eval()(source=source, padding_mask=None)["encoder_out"])
    expected = ctc.w2v_encoder.w2v_model.extract_features(torch.from_numpy(speech[3])[None], None)["x"][0]
    assert_near(load_model(path).extract(speech[3]), expected, 1e-5)

    save(path, config, ctc.state_dict(), task_state={"target_dictionary": letters("ABC|")})
    with pytest.raises(InputError, match=r"fine_tuned\.pt: its dictionary has 8 symbols, its weights 7 outputs"):
        load_fine_tuned(path)
    save(path, config, ctc.state_dict())
    with pytest.raises(InputError, match=r"fine_tuned\.pt carries no dictionary"):
        load_fine_tuned(path)
    without_outputs = {name: value for name, value in ctc.state_dict().items() if "w2v_encoder.proj" not in name}
    save(path, config, without_outputs, task_state={"target_dictionary": dictionary})
    with pytest.raises(InputError, match=r"its dictionary has 7 symbols, its weights 0 outputs"):
        load_fine_tuned(path)


@pytest.mark.parametrize(
    "changes, options",
    [
        ({"mixer": "linformer", "mixer_options": {"rank": 4, "max_frames": 300}}, {"rank": 4, "max_frames": 300}),
        # no weight has this in its shape, so that another value would not be noticed
        ({"mixer": "local", "mixer_options": {"window": 8}}, {"window": 8}),
        ({"mixers": ["local", "mhsa"], "mixer_options": {"local": {"window": 8}}}, {"local": {"window": 8}}),
    ],
)
def test_options_of_the_mixer_are_those_of_the_pre_training(tiny_model, tmp_path, changes, options):
    """fairseq empties dictionaries in the configuration of a checkpoint."""
    model, dictionary, path = tiny_model(**changes), letters("AB|"), tmp_path / "fine_tuned.pt"
    config, ctc = fine_tune(model, OURS, tmp_path, dictionary)
    encoder = ctc.w2v_encoder.w2v_model
    assert layer_mixers(encoder.cfg) == layer_mixers(model.cfg)
    assert ctc.cfg.w2v_args.model.mixer_options == options  # what fairseq saves
    save(path, config, ctc.state_dict(), task_state={"target_dictionary": dictionary})
    loaded = load_fine_tuned(path).encoder.model
    assert layer_mixers(loaded.cfg) == layer_mixers(model.cfg)


def test_an_output_layer_that_is_no_matrix(tiny_model, tmp_path):
    dictionary = letters("AB|")
    config, ctc = fine_tune(tiny_model(), OURS, tmp_path, dictionary)
    weights = {**ctc.state_dict(), "w2v_encoder.proj.weight": torch.tensor(1.0)}
    path = save(tmp_path / "c.pt", config, weights, task_state={"target_dictionary": dictionary})
    with pytest.raises(InputError, match=r"c\.pt: its dictionary has 7 symbols, its weights 0 outputs"):
        load_fine_tuned(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, r"checkpoint\.pt is pre-trained only: fine-tune it first"),
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
