"""wav2vec 2.0 with a filterbank front end and a Conformer encoder of a chosen mixer (arXiv 2407.13377, section 3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.models import BaseFairseqModel, register_model
from fairseq.modules import GradMultiply
from torch import Tensor, nn

from ..data.checks import check_sample_rate
from ..modules.filterbank import padding_mask_from_lengths
from ..modules.frontend import Features, stack_frames
from ..modules.masking import draw_channel_mask, draw_mask, min_maskable_frames
from ..system.errors import InputError
from ..system.options import Refused
from ..system.transfers import to_device
from ..system.units import SAMPLE_RATE_HZ
from .checks import validate
from .config import Wav2Vec2SummaryMixingConfig, energies_dim, objective_options
from .encoder import build_encoder, build_frontend
from .objectives import OBJECTIVES, MaskedBatch

logger = logging.getLogger(__name__)

# The contrastive objective's modules, which older checkpoints keep at the model's root.
OBJECTIVE_OF_OLD = ("quantizer.", "project_q.", "final_proj.")


@register_model("wav2vec2_summarymixing", dataclass=Wav2Vec2SummaryMixingConfig)
class Wav2Vec2SummaryMixingModel(BaseFairseqModel):
    """wav2vec 2.0 pre-training model; what fairseq's criterion, trainer and fine-tuning models ask of one.

    The waveform may come in any floating dtype. fairseq halves float32 input under ``common.fp16`` and ``bf16``; the
    task ``speech_pretraining`` hands it over in float64, which fairseq leaves alone.

    Raises:
        InputError: for a configuration that ``validate`` refuses.
    """

    def __init__(self, cfg: Wav2Vec2SummaryMixingConfig):
        super().__init__()
        validate(cfg)
        self.cfg = cfg
        dim, channels = cfg.encoder_embed_dim, cfg.frontend_channels
        self.feature_extractor = build_frontend(cfg)
        self.post_extract_proj = nn.Linear(channels, dim)
        self.dropout_input = nn.Dropout(cfg.dropout_input)
        self.mask_emb = nn.Parameter(torch.empty(dim).uniform_())
        self.encoder = build_encoder(cfg)
        self.objective: Any = OBJECTIVES[cfg.objective](objective_options(cfg), channels, dim, energies_dim(cfg))
        self.min_maskable_frames = min_maskable_frames(cfg.mask_prob, cfg.mask_length)
        self._warned_of_half_waveform = False

    @classmethod
    def build_model(cls, cfg: Wav2Vec2SummaryMixingConfig, task: Any = None) -> Wav2Vec2SummaryMixingModel:
        """Build from fairseq's configuration.

        Raises:
            InputError: for a configuration that ``validate`` refuses, or a task at another sample rate.
        """
        check_sample_rate(getattr(getattr(task, "cfg", None), "sample_rate", SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
        return cls(cfg)

    @staticmethod
    def _num_samples(source: Tensor, padding_mask: Tensor | None) -> list[int]:
        """Valid samples of each clip. With a padding mask on a GPU the host waits for them."""
        if padding_mask is None:
            return [source.size(1)] * source.size(0)
        return (~padding_mask).sum(1).tolist()

    def _features(self, source: Tensor, num_samples: Tensor) -> tuple[Features, list[int], Tensor | None]:
        """Waveform to the front end's output, frames per clip, and frame padding mask or None without padding.

        ``num_samples`` (B,) is on the CPU. Frames are counted there and on the device, so that nothing is read back.
        """
        on_device = to_device(num_samples, source.device)
        if source.dtype in (torch.float16, torch.bfloat16) and not self._warned_of_half_waveform:
            self._warned_of_half_waveform = True
            logger.warning(
                "the waveform arrives in %s, which degrades the filterbank features: set task._name=speech_pretraining "
                "(or speech_finetuning), or common.amp in place of common.fp16 / common.bf16",
                source.dtype,
            )
        if self.cfg.feature_grad_mult > 0:
            features = self.feature_extractor(source, on_device)
            if self.cfg.feature_grad_mult != 1.0:
                latents, before_norm = (
                    GradMultiply.apply(x, self.cfg.feature_grad_mult) for x in (features.latents, features.before_norm)
                )
                features = features._replace(latents=latents, before_norm=before_norm)
        else:
            with torch.no_grad():
                features = self.feature_extractor(source, on_device)
        frame_padding = None
        frames_per_clip = self.feature_extractor.output_lengths(num_samples).tolist()
        if min(frames_per_clip) < features.latents.size(1):
            frame_padding = padding_mask_from_lengths(features.lengths, features.latents.size(1))
        return features, frames_per_clip, frame_padding

    def _draw_mask(self, lengths: list[int], width: int, pretraining: bool) -> Tensor | None:
        """(B, width) bool on the CPU, True = masked, or None where masks are off.

        Raises:
            InputError: in pre-training, for a clip too short to be masked.
        """
        cfg = self.cfg
        if cfg.mask_prob == 0:
            return None
        maskable = [row for row, length in enumerate(lengths) if length >= self.min_maskable_frames]
        if pretraining and len(maskable) < len(lengths):
            raise InputError(
                f"a clip of {min(lengths)} frames cannot be masked in spans of {cfg.mask_length}: at least "
                f"{self.min_maskable_frames} frames are needed; set task.min_sample_size="
                f"{self.feature_extractor.min_samples(self.min_maskable_frames)} or more to leave such clips out"
            )
        # In fine-tuning masks only augment: a clip too short for them goes unmasked, and does not count for the others.
        mask = torch.zeros(len(lengths), width, dtype=torch.bool)
        if maskable:
            mask[maskable] = draw_mask(
                [lengths[row] for row in maskable],
                width,
                cfg.mask_prob,
                cfg.mask_length,
                cfg.require_same_masks,
                fill=cfg.mask_fill and pretraining,
                mask_type=str(cfg.mask_selection),
                mask_other=cfg.mask_other,
                mask_dropout=cfg.mask_dropout,
            )
        return mask

    def _mask_channels(self, x: Tensor) -> Tensor:
        """Zero spans of channels of x (B, T, D)."""
        cfg = self.cfg
        if cfg.mask_channel_prob == 0:
            return x
        mask = draw_channel_mask(
            x.size(0),
            x.size(2),
            cfg.mask_channel_prob,
            cfg.mask_channel_length,
            mask_type=str(cfg.mask_channel_selection),
            mask_other=cfg.mask_channel_other,
        )
        return x.masked_fill(to_device(mask, x.device)[:, None], 0.0)  # (B, D) -> (B, 1, D)

    def apply_mask(
        self, x: Tensor, lengths: list[int], pretraining: bool, mask_indices: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Put the mask vector in place of spans of frames, and zeros in place of spans of channels.

        Args:
            x: (B, T, D); lengths: valid frames of each clip.
            mask_indices: (B, T) bool, True = masked; drawn where None.

        Returns:
            x masked (B, T, D), and the frame mask (B, T) or None: drawn masks stay on the CPU, where counting and
            listing the masked frames halts no GPU.
        """
        if self.cfg.mask_channel_before:
            x = self._mask_channels(x)
        if mask_indices is None:
            mask_indices = self._draw_mask(lengths, x.size(1), pretraining)
        if mask_indices is not None:
            x = torch.where(to_device(mask_indices, x.device)[..., None], self.mask_emb.to(x.dtype), x)
        if not self.cfg.mask_channel_before:
            x = self._mask_channels(x)
        return x, mask_indices

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = True,
        features_only: bool = False,
        layer: int | None = None,
        mask_indices: Tensor | None = None,
        keep_hidden_states: bool = True,
        num_samples: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """What the objective gives of a masked batch, or with ``features_only`` the encoder's output.

        Args:
            source: (B, num_samples) waveform at 16 kHz.
            padding_mask: (B, num_samples) bool, True = padding, at the end of a clip; or None.
            mask: whether to mask frames.
            layer: with ``features_only``, stop after this layer (from 0), without the final LayerNorm.
            mask_indices: the mask to use in place of a drawn one.
            keep_hidden_states: with ``features_only``, False leaves ``layer_results`` and ``hidden_states`` empty.
            num_samples: valid samples of each clip, as the padding mask has them; None: they are counted in it.

        Returns:
            For pre-training what the objective's ``forward`` gives. With ``features_only``: ``x``
            (B, T, D), ``padding_mask`` (B, T) or None, ``features`` (B, T, channels), ``layer_results``: for each
            layer ((T, B, D), None, None) as in fairseq, and ``hidden_states``: the encoder's input and each layer's
            output, (B, T, D).

        Raises:
            InputError: for a clip too short for one frame or, in pre-training, for the mask.
        """
        if num_samples is None:
            num_samples = self._num_samples(source, padding_mask)
        valid_samples = torch.as_tensor(num_samples)
        features, lengths, frame_padding = self._features(source, valid_samples)
        latents = features.latents
        if features_only:
            del features  # the rest of it would stay in memory while the encoder runs
        x = self.dropout_input(self.post_extract_proj(latents))
        if mask:
            x, mask_indices = self.apply_mask(x, lengths, not features_only, mask_indices)
        x, hidden_states = self.encoder(x, frame_padding, layer, features_only and keep_hidden_states)
        if features_only:
            return {
                "x": x,
                "padding_mask": frame_padding,
                "features": latents,
                # (B, T, D) -> (T, B, D), with the places of fairseq's attention weights and FFN output empty
                "layer_results": [(h.transpose(0, 1), None, None) for h in hidden_states[1:]],
                "hidden_states": hidden_states,
            }
        if not mask or mask_indices is None:
            raise InputError(f"model.mask_prob={self.cfg.mask_prob}: pre-training needs masked frames")

        if self.objective is None:
            raise ValueError("this model was fine-tuned or read for its encoder alone: it has no objective to train by")
        return self.objective(
            MaskedBatch(
                source=source,
                num_samples=valid_samples,
                latents=latents,
                encoded=x,
                mask=mask_indices,
                padding_mask=frame_padding,
                energies=stack_frames(features.energies, self.feature_extractor.windows, latents.size(1)),
                before_norm=features.before_norm,
            )
        )

    def extract_features(
        self,
        source: Tensor,
        padding_mask: Tensor | None,
        mask: bool = False,
        layer: int | None = None,
        keep_hidden_states: bool = True,
    ) -> dict[str, Any]:
        """``forward`` with ``features_only``: what fairseq's fine-tuning models call."""
        return self.forward(
            source,
            padding_mask,
            mask=mask,
            features_only=True,
            layer=layer,
            keep_hidden_states=keep_hidden_states,
        )

    def get_logits(self, net_output: dict[str, Any]) -> Tensor:
        """What fairseq's criterion ``wav2vec`` asks for; the objective's."""
        return self.objective.get_logits(net_output)

    def get_targets(self, sample: Any, net_output: dict[str, Any], expand_steps: bool = True) -> Tensor:
        """As ``get_logits``."""
        return self.objective.get_targets(sample, net_output, expand_steps)

    def get_extra_losses(self, net_output: dict[str, Any]) -> list[Tensor]:
        """As ``get_logits``."""
        return self.objective.get_extra_losses(net_output)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """As fairseq's, which calls this before loading: until version 0.1 the objective's modules had no prefix."""
        super().upgrade_state_dict_named(state_dict, name)
        prefix = f"{name}." if name else ""
        for key in list(state_dict):
            if key.startswith(tuple(prefix + module for module in OBJECTIVE_OF_OLD)):
                state_dict[f"{prefix}objective.{key[len(prefix) :]}"] = state_dict.pop(key)

    def remove_pretraining_modules(self, last_layer: int | None = None) -> None:
        """Drop what fine-tuning has no use for, and the layers after ``last_layer`` (from 0) if given."""
        self.objective = None
        if last_layer is not None:
            self.encoder.layers = self.encoder.layers[: last_layer + 1]

    def reset_last_layers(self, number: int) -> None:
        """Give the last ``number`` layers random weights, as ``init`` says, before fine-tuning.

        Raises:
            Refused: if there are fewer layers.
        """
        num_layers = len(self.encoder.layers)
        if not 0 <= number <= num_layers:
            raise Refused("reset_last_layers", number, f"must be 0 to {num_layers}, the number of layers")
        self.encoder.layers = self.encoder.layers[: num_layers - number]
        self.encoder.layers.extend(build_encoder(self.cfg).layers[num_layers - number :])
