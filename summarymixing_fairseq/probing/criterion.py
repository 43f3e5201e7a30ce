"""``classification`` and ``aam_softmax``: one class a clip, with accuracy in fairseq's log."""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn
from torch.nn import functional as F

from ..system.errors import InputError
from .heads.pooling import at_least_float32

# Target of a clip whose class is not one of training's: it has no loss, and counts as an error.
UNKNOWN_CLASS = -1


@register_criterion("classification", dataclass=FairseqDataclass)
class ClassificationCriterion(FairseqCriterion):
    """Cross entropy over classes, and accuracy."""

    takes_cosines = False

    def __init__(self, cfg: FairseqDataclass, task: Any):
        super().__init__(task)

    def logits(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes) out of the model's scores (B, classes) and targets (B,), none of them unknown."""
        return scores

    def forward(self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True) -> Tuple[Tensor, int, Dict]:
        """Summed loss, number of clips, and what is logged.

        In validation, ``sample`` gets the predictions (B,) and, if the model gives them, the embeddings.

        Args:
            model: gives ``scores``, (B, classes), of which the highest is the prediction.
            sample: with ``target``, (B, 1) class numbers, ``UNKNOWN_CLASS`` for a class that training lacks.

        Raises:
            InputError: for a model that gives cosines to a criterion of logits, or the reverse.
        """
        self._check_head(getattr(model, "module", model))
        net_output = model(**sample["net_input"])
        scores = net_output["scores"].float()
        targets = sample["target"][:, 0].long()
        known = targets != UNKNOWN_CLASS
        loss = F.cross_entropy(self.logits(scores[known], targets[known]), targets[known], reduction="sum")
        predictions = scores.argmax(1)
        logging_output = {
            "loss": loss.detach(),
            "nsentences": len(targets),
            "ntokens": len(targets),
            "sample_size": len(targets),
            "num_correct": (predictions == targets).sum(),
        }
        if not self.training:
            sample["predictions"] = predictions
            sample["embeddings"] = net_output.get("embeddings")
        return loss, len(targets), logging_output

    def _check_head(self, model: nn.Module) -> None:
        gives_cosines = getattr(model, "gives_cosines", False)
        if self.takes_cosines and not gives_cosines:
            raise InputError(
                "criterion aam_softmax takes cosines: set model.cosine=true, and model.head=xvector or ecapa"
            )
        if gives_cosines and not self.takes_cosines:
            # a softmax of numbers from -1 to 1 is nearly uniform
            raise InputError("model.cosine=true is for criterion._name=aam_softmax: set both or neither")

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Loss in bits a clip, as fairseq's criterions have it, and accuracy in percent."""
        num_clips = utils.item(sum(log.get("nsentences", 0) for log in logging_outputs))
        if not num_clips:
            return
        loss = utils.item(sum(log.get("loss", 0) for log in logging_outputs))
        num_correct = utils.item(sum(log.get("num_correct", 0) for log in logging_outputs))
        metrics.log_scalar("loss", loss / num_clips / math.log(2), num_clips, round=3)
        metrics.log_scalar("accuracy", 100.0 * num_correct / num_clips, num_clips, round=2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """They can."""
        return True


def aam_logits(cosines: Tensor, targets: Tensor, margin: float, scale: float) -> Tensor:
    """ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 3): scale * cos(theta + margin) for the target's class.

    It is computed as cos(theta) cos(m) - sin(theta) sin(m): the slope of arccos is infinite at both ends. For the same
    reason 1 - cos(theta)^2 is at least one rounding step under the root of the sine, with no gradient below that.
    If theta + m > pi, cos(theta + m) would rise with theta. There the logit is scale * (cos(theta) - m sin(m)) instead,
    which falls with theta, so that the gradient keeps its sign. The authors' code does the same.

    Args:
        cosines: (B, C); targets: (B,) int64, 0 to C - 1.
        margin: m in radians, 0 to pi / 2; scale: factor of all logits, positive.

    Returns:
        (B, C), float32 (float64 for float64 cosines).
    """
    cosines = at_least_float32(cosines)
    target = cosines.gather(1, targets[:, None])  # (B, 1)
    sine = (1.0 - target.square()).clamp(min=torch.finfo(cosines.dtype).eps).sqrt()
    with_margin = target * math.cos(margin) - sine * math.sin(margin)
    beyond_pi = target < -math.cos(margin)  # theta > pi - m
    with_margin = torch.where(beyond_pi, target - margin * math.sin(margin), with_margin)
    return scale * cosines.scatter(1, targets[:, None], with_margin)


@dataclass
class AamSoftmaxCriterionConfig(FairseqDataclass):
    """Margin and scale of the softmax."""

    margin: float = field(default=0.2, metadata={"help": "added to the angle of the target's class, in radians"})
    scale: float = field(default=30.0, metadata={"help": "factor of the cosines before the softmax"})


@register_criterion("aam_softmax", dataclass=AamSoftmaxCriterionConfig)
class AamSoftmaxCriterion(ClassificationCriterion):
    """Additive angular margin (Deng et al., 2019, Eq. 3) on the cosines of a head with ``model.cosine=true``.

    Raises:
        InputError: for a margin or scale out of range.
    """

    takes_cosines = True

    def __init__(self, cfg: AamSoftmaxCriterionConfig, task: Any):
        super().__init__(cfg, task)
        if not 0 <= cfg.margin < math.pi / 2:
            raise InputError(f"criterion.margin={cfg.margin}: must be an angle from 0 to below pi / 2")
        if not cfg.scale > 0:
            raise InputError(f"criterion.scale={cfg.scale}: must be positive")
        self.margin, self.scale = cfg.margin, cfg.scale

    def logits(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cosines (B, classes) -> scaled cosines, the target's with the margin added to its angle."""
        return aam_logits(scores, targets, self.margin, self.scale)
