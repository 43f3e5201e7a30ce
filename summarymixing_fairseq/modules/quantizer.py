"""fairseq's Gumbel product quantizer (wav2vec 2.0, arXiv 2006.11477, section 2), in less memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.modules import GumbelVectorQuantizer
from torch import Tensor


def perplexity(probabilities: Tensor) -> Tensor:
    """(groups, entries) probabilities -> exp of the entropy of each group, summed over the groups."""
    return torch.exp(-torch.sum(probabilities * torch.log(probabilities + 1e-7), dim=-1)).sum()


class ProductQuantizer(GumbelVectorQuantizer):
    """fairseq's quantizer with the same parameters and results, for time-first input and separate codebooks per group.

    fairseq multiplies every frame's one-hot choice with every entry and sums. That makes a tensor of frames x groups x
    entries x width: half a gigabyte for 4 clips of 15 s, and again in the backward pass. Here one matrix product a
    group does the same without that tensor.
    """

    def forward(self, x: Tensor, produce_targets: bool = False) -> dict[str, Any]:
        """Quantize the latents.

        Args:
            x: (B, T, C) latents; produce_targets: whether to return the chosen entries too.

        Returns:
            ``x`` (B, T, vq_dim), ``targets`` (B, T, groups) int64 if asked for, ``num_vars``, ``temp``,
            ``code_perplexity`` of the choices without noise, and ``prob_perplexity`` of the softmax. Perplexities are
            summed over the groups.
        """
        B, T, C = x.shape
        logits = self.weight_proj(x.reshape(-1, C)).view(B * T, self.groups, self.num_vars)
        with torch.no_grad():
            hard = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
            code_perplexity = perplexity(hard.float().mean(0))
        prob_perplexity = perplexity(logits.float().softmax(-1).mean(0))
        if self.training:
            # float32 and this order of frames and groups, as in fairseq; fairseq up to 0.12.2 has no `hard`
            hard_choice = getattr(self, "hard", True)
            choices = F.gumbel_softmax(logits.float(), tau=self.curr_temp, hard=hard_choice).type_as(logits)
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
        # in the wider of the two dtypes, as fairseq's product under autocast
        dtype = torch.promote_types(choices.dtype, self.vars.dtype)
        entries = self.vars.view(self.groups, self.num_vars, -1).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            # (groups, B * T, entries) x (groups, entries, width) -> (groups, B * T, width) -> (B, T, groups * width)
            quantized = torch.bmm(choices.transpose(0, 1).to(dtype), entries)
        result["x"] = quantized.transpose(0, 1).reshape(B, T, -1)
        return result
