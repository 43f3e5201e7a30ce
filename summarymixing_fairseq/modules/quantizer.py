"""fairseq's Gumbel product quantizer (wav2vec 2.0, arXiv 2006.11477, section 2) with a product for its expansion."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.modules import GumbelVectorQuantizer
from torch import Tensor


def perplexity(probabilities: Tensor) -> Tensor:
    """(groups, entries) of probabilities -> exp of the entropy, summed over the groups."""
    return torch.exp(-torch.sum(probabilities * torch.log(probabilities + 1e-7), dim=-1)).sum()


class ProductQuantizer(GumbelVectorQuantizer):
    """fairseq's module, parameters and results, for input of time first and entries of each group its own.

    fairseq multiplies every frame's choice by every entry and sums, a tensor of frames x groups x entries x width: half
    a gigabyte for 4 clips of 15 s, and again in the backward pass. One product a group takes none.
    """

    def forward(self, x: Tensor, produce_targets: bool = False) -> dict[str, Any]:
        """Quantize.

        Args:
            x: (B, T, C); produce_targets: whether the chosen entries are wanted.

        Returns:
            ``x`` (B, T, vq_dim), ``targets`` (B, T, groups) int64, ``num_vars``, ``temp``, ``code_perplexity`` of the
            choices without noise and ``prob_perplexity`` of the softmax, summed over the groups.
        """
        B, T, C = x.shape
        logits = self.weight_proj(x.reshape(-1, C)).view(B * T, self.groups, self.num_vars)
        with torch.no_grad():
            hard = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
            code_perplexity = perplexity(hard.float().mean(0))
        prob_perplexity = perplexity(logits.float().softmax(-1).mean(0))
        if self.training:
            # as fairseq draws it: in float32, frame by frame and group by group; up to 0.12.2 it has no `hard`
            one_entry = getattr(self, "hard", True)
            choices = F.gumbel_softmax(logits.float(), tau=self.curr_temp, hard=one_entry).type_as(logits)
        else:
            choices = hard
        result = {
            "num_vars": self.num_vars * self.groups,
            "temp": self.curr_temp,
            "code_perplexity": code_perplexity,
            "prob_perplexity": prob_perplexity,
        }
        if produce_targets:
            result["targets"] = choices.argmax(-1).view(B, T, self.groups).detach()
        # in the wider of both precisions, as fairseq's product with the entries is under autocast too
        dtype = torch.promote_types(choices.dtype, self.vars.dtype)
        entries = self.vars.view(self.groups, self.num_vars, -1).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            # (groups, B * T, entries) x (groups, entries, width) -> (groups, B * T, width) -> (B, T, groups * width)
            quantized = torch.bmm(choices.transpose(0, 1).to(dtype), entries)
        result["x"] = quantized.transpose(0, 1).reshape(B, T, -1)
        return result
