"""``pretraining``: the criterion of every objective that computes its own loss."""

from __future__ import annotations

import math
from typing import Any

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor, nn


@register_criterion("pretraining", dataclass=FairseqDataclass)
class PretrainingCriterion(FairseqCriterion):
    """Hands on what an objective gives (see ``models.objectives.Objective``)."""

    def __init__(self, cfg: FairseqDataclass, task: Any):
        super().__init__(task)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over the targets, their number, and sums to be logged."""
        net_output = model(**sample["net_input"])
        loss, sample_size = net_output["loss"], net_output["sample_size"]
        # detached tensors of one number: the task reads those of a whole update at once
        logged = {name: value.detach() for name, value in net_output.get("logged", {}).items()}
        if "correct" in logged:
            logged["count"] = sample_size
        sizes = {"ntokens": sample_size, "nsentences": sample["id"].numel(), "sample_size": sample_size}
        return loss, sample_size, {"loss": loss.detach(), **sizes, **logged}

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Means over the targets of all processes; the loss in bits, as fairseq's criterions have it."""
        sums: dict[str, float] = {}
        for output in logging_outputs:
            for name, value in output.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        sample_size = sums.pop("sample_size", 0.0)
        if not sample_size:
            return
        metrics.log_scalar("loss", sums.pop("loss") / sample_size / math.log(2), sample_size, round=3)
        metrics.log_scalar("ntokens", sums.pop("ntokens"))
        metrics.log_scalar("nsentences", sums.pop("nsentences"))
        if "correct" in sums:
            metrics.log_scalar("accuracy", sums.pop("correct") / max(sums.pop("count"), 1.0), sample_size, round=5)
        for name, value in sums.items():
            metrics.log_scalar(name, value / sample_size, sample_size, round=5)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Whether sums over batches may be taken before the processes exchange them: they may."""
        return True
