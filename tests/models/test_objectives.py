"""What every registered objective must hold, whatever its loss."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch
from encoder_checkpoints import OURS, configuration, fine_tune, letters, save
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from reference import assert_near, batch_of

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.models.config import num_parameters
from summarymixing_fairseq.models.objectives import OBJECTIVES, OPTIONS
from summarymixing_fairseq.training.criterion import PretrainingCriterion

every_objective = pytest.mark.parametrize("name", sorted(OBJECTIVES))


def sample_of(speech: list) -> dict:
    """Two clips of unequal length."""
    return {"net_input": batch_of(speech[:2], garbage=7.0), "id": torch.arange(2)}


def criterion_of(name: str):
    if OBJECTIVES[name].criterion == "wav2vec":
        return Wav2vecCriterion(None, infonce=True, loss_weights=[0.1])
    return PretrainingCriterion(SimpleNamespace(), None)


@every_objective
def test_its_criterion_trains_it(tiny_model, speech, name):
    """A finite loss, numbers that the log takes, and a gradient for encoder and objective."""
    model = tiny_model(objective=name).train()
    assert OBJECTIVES[name].criterion in CRITERION_REGISTRY
    loss, sample_size, logged = criterion_of(name)(model, sample_of(speech))
    loss.backward()
    assert torch.isfinite(loss) and sample_size > 0 and {"loss", "sample_size", "nsentences"} <= set(logged)
    for key in ("objective.", "encoder.layers.0.", "mask_emb"):
        found = [p.grad for n, p in model.named_parameters() if n.startswith(key) and p.grad is not None]
        assert found and all(torch.isfinite(gradient).all() for gradient in found), key


@every_objective
def test_padding_does_not_change_the_loss(tiny_model, speech, name):
    model, sample = tiny_model(objective=name), sample_of(speech)
    losses = []
    for noise in (0.0, 30.0):
        source = sample["net_input"]["source"].masked_fill(sample["net_input"]["padding_mask"], noise)
        torch.manual_seed(3)
        changed = {**sample, "net_input": {**sample["net_input"], "source": source}}
        losses.append(criterion_of(name)(model, changed)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@every_objective
def test_half_precision_is_finite(tiny_model, speech, name):
    model = tiny_model(objective=name).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, _ = criterion_of(name)(model, sample_of(speech))
    loss.backward()
    assert torch.isfinite(loss) and loss.dtype == torch.float32


@every_objective
def test_number_of_weights_is_as_said(tiny_model, tiny_config, name):
    config = tiny_config(objective=name)
    weights = sum(weight.numel() for weight in tiny_model(objective=name).state_dict().values() if weight.dim() > 1)
    assert weights == num_parameters(config)


@every_objective
def test_fine_tuning_drops_it_whole(tiny_model, speech, name):
    """Fine-tuning removes the objective first and then loads the whole pre-trained state."""
    pretrained, model = tiny_model(objective=name), tiny_model(objective=name)
    model.remove_pretraining_modules()
    assert not [key for key in model.state_dict() if key.startswith("objective.")]
    model.load_state_dict(pretrained.state_dict(), strict=True)
    batch = sample_of(speech)["net_input"]
    assert torch.equal(model.extract_features(**batch)["x"], pretrained.extract_features(**batch)["x"])
    with pytest.raises(ValueError, match="has no objective to train by"):
        model(**batch)


@every_objective
def test_every_reader_takes_its_checkpoint(tiny_model, speech, tmp_path, name):
    """Features and probes by ``load_model``, decoding by ``load_fine_tuned``."""
    model = tiny_model(objective=name)
    path = save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())
    wave = torch.from_numpy(speech[3])[None]
    expected = model.extract_features(wave, None)["x"][0]
    assert_near(load_model(path).extract(speech[3]), expected, 1e-5)
    config, ctc = fine_tune(model, OURS, tmp_path)
    path = save(tmp_path / "ctc.pt", config, ctc.state_dict(), task_state={"target_dictionary": letters()})
    assert torch.equal(load_fine_tuned(path)(wave), ctc.eval()(source=wave, padding_mask=None)["encoder_out"])


@every_objective
def test_one_clip_is_a_batch(tiny_model, speech, name):
    loss, sample_size, _ = criterion_of(name)(
        tiny_model(objective=name), {"net_input": batch_of(speech[:1]), "id": torch.arange(1)}
    )
    assert torch.isfinite(loss) and sample_size > 0


@every_objective
def test_every_option_has_a_help_text(name):
    assert all(len(field.metadata["help"]) > 10 for field in fields(OPTIONS[name]))


def test_means_and_accuracy_of_the_criterion():
    """What ``pretraining`` logs of two batches."""
    from fairseq.logging import metrics

    outputs = [
        {"loss": 8.0, "ntokens": 4, "nsentences": 1, "sample_size": 4, "correct": 1.0, "count": 4, "distance": 2.0},
        {"loss": 4.0, "ntokens": 2, "nsentences": 1, "sample_size": 2, "correct": 2.0, "count": 2, "distance": 4.0},
    ]
    with metrics.aggregate(new_root=True) as found:
        PretrainingCriterion.reduce_metrics(outputs)
    values = found.get_smoothed_values()
    assert values["loss"] == pytest.approx(12 / 6 / 0.6931, abs=1e-3)
    assert values["accuracy"] == 0.5 and values["distance"] == 1.0
    PretrainingCriterion.reduce_metrics([])
