"""Cross entropy and accuracy against scikit-learn; the margin of aam_softmax against a loop; what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import nn

from summarymixing_fairseq.probing.criterion import (
    AamSoftmaxCriterion,
    AamSoftmaxCriterionConfig,
    ClassificationCriterion,
)

SCORES = torch.tensor([[2.0, 0.1, -1.0], [0.3, 0.2, 0.1], [-1.0, 3.0, 0.5], [0.0, 1.0, 2.5], [1.0, -2.0, 0.9]])
TARGETS = [0, 2, 1, 2, 1]


class Model(nn.Module):
    """Gives the scores that it was made with."""

    def __init__(self, scores: torch.Tensor, gives_cosines: bool = False):
        super().__init__()
        self.scores = nn.Parameter(scores.clone())
        self.gives_cosines = gives_cosines

    def forward(self, **_):
        return {"scores": self.scores, "embeddings": self.scores * 2}


TASK = SimpleNamespace(target_dictionary=Dictionary())


def classification():
    return ClassificationCriterion(FairseqDataclass(), TASK)


def aam_softmax(**options):
    return AamSoftmaxCriterion(AamSoftmaxCriterionConfig(**options), TASK)


def sample_of(targets):
    return {"net_input": {}, "target": torch.tensor(targets, dtype=torch.int32)[:, None]}


def logged(criterion, outputs) -> dict:
    with metrics.aggregate(new_root=True) as aggregator:
        type(criterion).reduce_metrics(outputs)
    return aggregator.get_smoothed_values()


def test_loss_and_accuracy_against_sklearn():
    from sklearn.metrics import accuracy_score, log_loss

    criterion, model = classification(), Model(SCORES)
    loss, sample_size, output = criterion(model, sample_of(TARGETS))
    probabilities = SCORES.softmax(1).numpy()
    mean = log_loss(TARGETS, probabilities / probabilities.sum(1, keepdims=True))
    assert sample_size == 5
    assert loss.item() == pytest.approx(5 * mean, rel=1e-5)
    # two batches are one
    stats = logged(criterion, [output, output])
    assert stats["loss"] == pytest.approx(mean / math.log(2), abs=1e-3)
    assert stats["accuracy"] == 100 * accuracy_score(TARGETS, SCORES.argmax(1))


def test_batches_weigh_by_their_clips():
    criterion = classification()
    whole = criterion(Model(SCORES), sample_of(TARGETS))[2]
    parts = [criterion(Model(SCORES[part]), sample_of(TARGETS[part]))[2] for part in (slice(0, 1), slice(1, 5))]
    assert logged(criterion, parts) == logged(criterion, [whole])


def test_unknown_class_has_no_loss_and_is_never_right():
    criterion, model = classification(), Model(SCORES)
    loss, sample_size, output = criterion(model, sample_of([0, -1, 1, -1, 1]))
    expected = nn.functional.cross_entropy(SCORES[[0, 2, 4]], torch.tensor([0, 1, 1]), reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (sample_size, int(output["num_correct"])) == (5, 2)
    loss.backward()
    assert model.scores.grad[[1, 3]].abs().max() == 0 and model.scores.grad[0].abs().max() > 0


@pytest.mark.parametrize("build", [classification, aam_softmax])
def test_a_batch_of_unknown_classes_alone(build):
    criterion = build()
    loss, _, output = criterion(Model(SCORES / 4, build is aam_softmax), sample_of([-1] * 5))
    assert loss.item() == 0 and int(output["num_correct"]) == 0


def test_predictions_and_embeddings_in_validation_only():
    criterion, model, sample = classification(), Model(SCORES), sample_of(TARGETS)
    criterion(model, sample)
    assert "predictions" not in sample
    criterion.eval()
    criterion(model, sample)
    assert sample["predictions"].tolist() == [0, 0, 1, 2, 0]
    assert torch.equal(sample["embeddings"], model.scores * 2)


def test_margin_and_scale_against_a_loop():
    cosines = torch.tensor([[0.9, -0.2, 0.1], [0.5, 0.4, -0.3]])
    targets = [0, 2]
    margin, scale = 0.2, 30.0
    expected = 0.0
    for row, target in zip(cosines.tolist(), targets):
        logits = [scale * cosine for cosine in row]
        logits[target] = scale * math.cos(math.acos(row[target]) + margin)
        expected += math.log(sum(map(math.exp, logits))) - logits[target]
    model = Model(cosines, gives_cosines=True)
    loss, _, output = aam_softmax(margin=margin, scale=scale)(model, sample_of(targets))
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    # the highest cosine is the prediction, whatever the margin
    assert int(output["num_correct"]) == 1


def test_the_margin_is_in_validation_too():
    cosines, targets = torch.tensor([[0.9, -0.2, 0.1]]), [0]
    criterion = aam_softmax()
    losses = [criterion.train(mode)(Model(cosines, True), sample_of(targets))[0].item() for mode in (True, False)]
    assert losses[0] == losses[1]


def test_heads_and_criterions_must_fit():
    with pytest.raises(ValueError, match=r"aam_softmax takes cosines: set model\.cosine=true"):
        aam_softmax()(Model(SCORES), sample_of(TARGETS))
    with pytest.raises(ValueError, match=r"model\.cosine=true is for criterion\._name=aam_softmax"):
        classification()(Model(SCORES, gives_cosines=True), sample_of(TARGETS))


def test_a_wrapped_model_is_asked_itself():
    wrapper = Model(SCORES)
    wrapper.module = Model(SCORES, gives_cosines=True)
    aam_softmax()(wrapper, sample_of(TARGETS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, r"criterion\.margin=-0\.1: must be an angle from 0 to below pi / 2"),
        ({"margin": 1.6}, r"criterion\.margin=1\.6"),
        ({"margin": float("nan")}, r"criterion\.margin=nan"),
        ({"scale": 0.0}, r"criterion\.scale=0\.0: must be positive"),
        ({"scale": float("nan")}, r"criterion\.scale=nan: must be positive"),
    ],
)
def test_bad_margin_and_scale(options, message):
    with pytest.raises(ValueError, match=message):
        aam_softmax(**options)
