"""fairseq's criterion ``wav2vec`` without its seven synchronisations a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from torch import Tensor

from ..system.errors import InputError


class LazyWav2vecCriterion(Wav2vecCriterion):
    """Loss and numbers of fairseq's with ``infonce``, but the numbers stay on the GPU until someone reads them.

    fairseq calls ``item()`` for each number it logs; each call waits until the GPU has done all its work. The logging
    output here holds tensors of one number instead. It is not registered: ``speech_pretraining`` puts it in the place
    of ``wav2vec``, and reads the numbers of all batches of an update at once.
    """

    loss_weights: list[float] | None
    log_keys: list[str]
    xla = False  # fairseq's reduction of what is logged asks for it

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, Any, dict[str, Any]]:
        """Loss summed over the targets (for each target without ``reduce``), their number, and what is logged.

        Raises:
            InputError: where there is not one loss weight, nor as many as the model has extra losses.
        """
        net_output = model(**sample["net_input"])
        logits = model.get_logits(net_output).float()
        target = model.get_targets(sample, net_output)
        loss = F.cross_entropy(logits, target, reduction="sum" if reduce else "none")
        sample_size = sample.get("sample_size", target.numel())
        losses = [loss.detach().clone()]
        if self.loss_weights is not None:
            extra_losses = model.get_extra_losses(net_output)
            if torch.is_tensor(extra_losses):
                extra_losses = [extra_losses]
            weights = list(self.loss_weights)
            if len(weights) == 1:
                weights *= len(extra_losses)
            if len(weights) != len(extra_losses):
                raise InputError(f"criterion.loss_weights={weights}: the model has {len(extra_losses)} extra losses")
            for extra, weight in zip(extra_losses, weights):
                if weight != 0 and extra is not None:
                    extra = weight * extra.float() * sample_size
                    loss = loss + extra
                    losses.append(extra.detach())

        logged = {
            "loss": loss.detach(),
            "ntokens": sample_size,
            "nsentences": sample["id"].numel(),
            "sample_size": sample_size,
        }
        for key in self.log_keys:
            if key in ("logits", "target"):
                if not self.training:  # arrays, for validation
                    logged[key] = (logits if key == "logits" else target).cpu().numpy()
            elif key in net_output:
                value = net_output[key]
                logged[key] = value.detach().double() if torch.is_tensor(value) else float(value)
        if len(losses) > 1:
            logged.update((f"loss_{number}", value) for number, value in enumerate(losses))
        with torch.no_grad():
            is_best, is_worst = logits.argmax(-1) == 0, logits.argmin(-1) == 0
            logged["correct"] = (is_best & ~is_worst).sum()  # both: all logits are the same
            logged["count"] = float(is_best.numel())
        return loss, sample_size, logged
