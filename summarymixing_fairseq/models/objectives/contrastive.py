"""``contrastive``: wav2vec 2.0's objective, to tell a masked frame's quantized latent from others of its utterance.

arXiv 2006.11477, section 3.2; arXiv 2407.13377, section 3.3. Its criterion is fairseq's ``wav2vec``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...modules.contrastive import info_nce_logits, sample_negatives
from ...modules.quantizer import ProductQuantizer
from ...system.errors import InputError
from ...system.options import MAX_WIDTH, Refused, option, width_option
from .registry import MaskedBatch, Objective, ObjectiveOptions, register_objective

TARGETS = ("latents", "detached", "filterbank")
_LOW_TEMPERATURE, _HIGH_TEMPERATURE = 1e-6, 1e6


def _size(default: int, help: str, high: int, model_field: str) -> int:
    return option(default, help, low=1, high=high, model_field=model_field)


@dataclass
class ContrastiveOptions(ObjectiveOptions):
    """Options of ``contrastive``: fields of fairseq's ``Wav2Vec2Config``, and two of our own at the end."""

    final_dim: int = width_option("width that targets are compared in", "encoder_embed_dim", "final_dim")
    latent_dim: int = width_option("width of the quantizer's output", "final_dim", "latent_dim")
    latent_vars: int = _size(320, "entries of a codebook", 1_000_000, "latent_vars")
    latent_groups: int = _size(2, "number of codebooks", MAX_WIDTH, "latent_groups")
    latent_temp: tuple[float, float, float] = option(
        (2.0, 0.5, 0.999995),
        "temperature of the quantizer's softmax: at the start, at the end, and its factor from update to update",
        low=_LOW_TEMPERATURE,
        high=_HIGH_TEMPERATURE,
        allowed=f"must be start, end and decay, each {_LOW_TEMPERATURE:g} to {_HIGH_TEMPERATURE:g}",
        model_field="latent_temp",
    )
    quantizer_depth: int = _size(1, "layers of the quantizer", 100, "quantizer_depth")
    quantizer_factor: int = _size(3, "width of its inner layers over that of the latents", 1_000, "quantizer_factor")
    num_negatives: int = _size(100, "negatives of a masked frame", 100_000, "num_negatives")
    logit_temp: float = option(
        0.1,
        "divides the cosine similarities",
        low=_LOW_TEMPERATURE,
        high=_HIGH_TEMPERATURE,
        allowed="must be positive, 1e-6 to 1e6",
        model_field="logit_temp",
    )
    dropout_features: float = option(
        0.0,
        "dropout on the latents before the quantizer",
        low=0.0,
        high=1.0,
        allowed="must be a probability, 0 to 1",
        model_field="dropout_features",
    )
    targets: str = option(
        "latents",
        "what is quantized: latents, as in the paper; detached: latents that get no gradient from their quantizer; "
        "filterbank: stacked log-mel energies",
        choices=TARGETS,
        model_field="targets",
    )
    feature_penalty: bool = option(
        False,
        "a second extra loss, the mean square of the latents before their last norm; its weight is the second of "
        "`criterion.loss_weights`, 10 in fairseq's wav2vec 2.0",
    )

    def widths(self, encoder_dim: int) -> tuple[int, int]:
        """Width of the comparison, and of the quantizer's output."""
        final_dim = self.final_dim or encoder_dim
        return final_dim, self.latent_dim or final_dim

    def check(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> None:
        """Raises Refused for codebooks that do not divide the quantizer's width."""
        _, quantized_dim = self.widths(encoder_dim)
        if quantized_dim % self.latent_groups:
            allowed = f"must divide the quantizer's width {quantized_dim} (latent_dim, or final_dim)"
            raise Refused("latent_groups", self.latent_groups, allowed)

    def quantizer_dim(self, latent_dim: int, energies_dim: int) -> int:
        """Width of what is quantized."""
        return energies_dim if self.targets == "filterbank" else latent_dim

    def num_weights(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> int:
        """Quantizer and both projections."""
        final_dim, quantized_dim = self.widths(encoder_dim)
        inner = quantizer_dim = self.quantizer_dim(latent_dim, energies_dim)
        weights = self.latent_vars * quantized_dim + quantized_dim * final_dim + encoder_dim * final_dim
        if self.quantizer_depth > 1:
            inner = quantizer_dim * self.quantizer_factor
            weights += (quantizer_dim + (self.quantizer_depth - 2) * inner) * inner
        return weights + inner * self.latent_vars * self.latent_groups


@register_objective("contrastive", ContrastiveOptions)
class Contrastive(Objective):
    """Quantizer, projections, negatives and InfoNCE over the masked frames.

    Args:
        options: sizes and temperatures.
        latent_dim: C, width of the latents; encoder_dim: D, of the encoder's output; energies_dim: E, of the stacked
            energies.
    """

    criterion = "wav2vec"

    def __init__(self, options: ContrastiveOptions, latent_dim: int, encoder_dim: int, energies_dim: int):
        super().__init__()
        final_dim, quantized_dim = options.widths(encoder_dim)
        self.num_negatives, self.logit_temp = options.num_negatives, options.logit_temp
        self.targets, self.feature_penalty = options.targets, options.feature_penalty
        self.num_codes = options.latent_vars * options.latent_groups
        self.dropout = nn.Dropout(options.dropout_features)
        self.quantizer = ProductQuantizer(
            dim=options.quantizer_dim(latent_dim, energies_dim),
            num_vars=options.latent_vars,
            temp=options.latent_temp,
            groups=options.latent_groups,
            combine_groups=False,
            vq_dim=quantized_dim,
            time_first=True,
            weight_proj_depth=options.quantizer_depth,
            weight_proj_factor=options.quantizer_factor,
        )
        self.project_q = nn.Linear(quantized_dim, final_dim)
        self.final_proj = nn.Linear(encoder_dim, final_dim)

    def forward(self, batch: MaskedBatch) -> dict[str, Any]:
        """``x`` (B, M, 1 + negatives) float32, logits of the M masked frames of each clip, the positive first; with the
        quantizer's perplexities, number of codes and temperature.

        Raises:
            InputError: where the clips of a batch have not all the same number of masked frames.
        """
        B, _, D = batch.encoded.shape
        num_masked = batch.mask.sum(1)
        if not bool((num_masked == num_masked[0]).all()):
            raise InputError(
                f"masked frames per clip {num_masked.tolist()}: pre-training needs the same number in every clip "
                "of a batch; set model.require_same_masks=true"
            )
        masked = batch.masked_frames()
        # masked frames, the same number M in every clip: (B, T, D) -> (B * T, D) -> (B * M, D) -> (B, M, D)
        context = self.final_proj(batch.encoded.flatten(0, 1).index_select(0, masked).view(B, -1, D))
        quantized = self.quantizer(self.dropout(self._quantizer_input(batch, masked)), produce_targets=True)
        targets = self.project_q(quantized["x"])
        codes = self.quantizer.to_codebook_index(quantized["targets"])  # (B, M, groups) -> (B, M)
        negatives = sample_negatives(B, context.size(1), self.num_negatives, context.device)
        net_output = {
            "x": info_nce_logits(context, targets, codes, negatives, self.logit_temp),
            "padding_mask": batch.padding_mask,
            "prob_perplexity": quantized["prob_perplexity"],
            "code_perplexity": quantized["code_perplexity"],
            "num_vars": quantized["num_vars"],
            "temp": quantized["temp"],
        }
        if self.feature_penalty:
            net_output["features_pen"] = self._feature_penalty(batch)
        return net_output

    def _quantizer_input(self, batch: MaskedBatch, masked: Tensor) -> Tensor:
        """(B, M, C), or (B, M, E) of the filterbank, at the masked frames."""
        B = batch.encoded.size(0)
        if self.targets == "filterbank":
            return batch.stacked_energies(masked).view(B, masked.size(0) // B, -1).to(self.project_q.weight.dtype)
        latents = batch.latents.detach() if self.targets == "detached" else batch.latents
        return latents.flatten(0, 1).index_select(0, masked).view(B, -1, latents.size(-1))

    @staticmethod
    def _feature_penalty(batch: MaskedBatch) -> Tensor:
        """Mean square over channels and valid frames of the latents before their last norm, float32."""
        squares = batch.before_norm.float().square().mean(-1)  # (B, T)
        if batch.padding_mask is None:
            return squares.mean()
        return squares.masked_fill(batch.padding_mask, 0.0).sum() / (~batch.padding_mask).sum()

    # what fairseq's criterion asks for

    def get_logits(self, net_output: dict[str, Any]) -> Tensor:
        """(B, M, 1 + N) -> (B * M, 1 + N) for the criterion's cross entropy."""
        return net_output["x"].flatten(0, 1)

    def get_targets(self, sample: Any, net_output: dict[str, Any], expand_steps: bool = True) -> Tensor:
        """The positive stands first: (B * M,) zeros."""
        logits = net_output["x"]
        return logits.new_zeros(logits.size(0) * logits.size(1), dtype=torch.long)

    def get_extra_losses(self, net_output: dict[str, Any]) -> list[Tensor]:
        """The diversity loss, 1 - perplexity / entries, and the feature penalty where it is asked for, in the order of
        ``criterion.loss_weights``."""
        diversity = 1.0 - net_output["prob_perplexity"] / net_output["num_vars"]
        return [diversity, net_output["features_pen"]] if "features_pen" in net_output else [diversity]
