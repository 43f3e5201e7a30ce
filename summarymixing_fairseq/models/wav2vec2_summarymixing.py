"""wav2vec 2.0 with a filterbank front end and a Conformer encoder of a chosen mixer (arXiv 2407.13377, section 3)."""

from __future__ import annotations

import logging
from typing import Any

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models import BaseFairseqModel, register_model
from fairseq.modules import GradMultiply
from torch import Tensor, nn

from ..modules.conformer import ConformerEncoder, ConformerLayer
from ..modules.contrastive import info_nce_logits, sample_negatives
from ..modules.filterbank import LogMelFilterbank, padding_mask_from_lengths
from ..modules.frontend import FilterbankFrontend
from ..modules.kernels.dropout import Dropout
from ..modules.masking import draw_channel_mask, draw_mask, min_maskable_frames
from ..modules.mixing import build_mixer
from ..modules.quantizer import ProductQuantizer
from .config import Wav2Vec2SummaryMixingConfig, validate

logger = logging.getLogger(__name__)

SAMPLE_RATE_HZ = 16_000


def build_frontend(cfg: Wav2Vec2SummaryMixingConfig) -> FilterbankFrontend:
    """Feature extractor of a configuration."""
    filterbank = LogMelFilterbank(SAMPLE_RATE_HZ, cfg.num_mel_bins)
    return FilterbankFrontend(
        filterbank, cfg.num_mel_bins, cfg.frontend_channels, cfg.frontend_kernel_sizes, cfg.frontend_strides
    )


def build_encoder(cfg: Wav2Vec2SummaryMixingConfig) -> ConformerEncoder:
    """Context encoder of a configuration."""
    if cfg.mixer == "summarymixing":
        num_heads = cfg.summary_heads
        options = {
            "mode": cfg.summary_mode,
            "local_hidden_dim": cfg.local_hidden_dim,
            "local_out_dim": cfg.local_out_dim,
            "summary_hidden_dim": cfg.summary_hidden_dim,
            "summary_out_dim": cfg.summary_out_dim,
            "layer_norm": cfg.summary_layer_norm,
            "activation": cfg.summary_activation,
        }
    else:
        num_heads, options = cfg.encoder_attention_heads, {}

    def build_layer() -> ConformerLayer:
        mixer = build_mixer(
            cfg.mixer,
            embed_dim=cfg.encoder_embed_dim,
            num_heads=num_heads,
            dropout=cfg.attention_dropout,
            **options,
        )
        layer = ConformerLayer(
            mixer,
            cfg.encoder_embed_dim,
            cfg.encoder_ffn_embed_dim,
            cfg.depthwise_conv_kernel_size,
            cfg.dropout,
            cfg.activation_dropout,
            cfg.checkpoint_activations,
        )
        return fsdp_wrap(layer)  # under ddp_backend=fully_sharded each layer is gathered when its turn comes

    encoder = ConformerEncoder(
        build_layer,
        cfg.encoder_layers,
        cfg.encoder_embed_dim,
        cfg.encoder_layerdrop,
        cfg.compile_layers,
    )
    encoder.run_dropped_layers = not isinstance(encoder.layers[0], ConformerLayer)
    for module in encoder.modules():
        if hasattr(module, "fast"):
            module.fast = cfg.fast_kernels
    return encoder


@register_model("wav2vec2_summarymixing", dataclass=Wav2Vec2SummaryMixingConfig)
class Wav2Vec2SummaryMixingModel(BaseFairseqModel):
    """wav2vec 2.0 pre-training model; what fairseq's criterion, trainer and fine-tuning models ask of one.

    The waveform may come in any floating dtype. fairseq halves float32 input under ``common.fp16`` and ``bf16``; the
    task ``speech_pretraining`` hands it over in float64, which fairseq leaves alone.

    Raises:
        ValueError: for a configuration that ``validate`` refuses.
    """

    def __init__(self, cfg: Wav2Vec2SummaryMixingConfig):
        super().__init__()
        validate(cfg)
        self.cfg = cfg
        dim, channels = cfg.encoder_embed_dim, cfg.frontend_channels
        final_dim = cfg.final_dim or dim
        vq_dim = cfg.latent_dim or final_dim

        frontend = build_frontend(cfg)
        if cfg.feature_grad_mult == 0:
            # frozen: no optimizer may decay it, nor processes wait for its gradient
            frontend.requires_grad_(False)
        self.feature_extractor = fsdp_wrap(frontend)
        self.post_extract_proj = nn.Linear(channels, dim)
        self.dropout_input = Dropout(cfg.dropout_input, cfg.fast_kernels)
        self.dropout_features = Dropout(cfg.dropout_features, cfg.fast_kernels)
        self.mask_emb = nn.Parameter(torch.empty(dim).uniform_())
        self.encoder = build_encoder(cfg)
        self.quantizer = ProductQuantizer(
            dim=channels,
            num_vars=cfg.latent_vars,
            temp=cfg.latent_temp,
            groups=cfg.latent_groups,
            combine_groups=False,
            vq_dim=vq_dim,
            time_first=True,
            weight_proj_depth=cfg.quantizer_depth,
            weight_proj_factor=cfg.quantizer_factor,
        )
        self.project_q = nn.Linear(vq_dim, final_dim)
        self.final_proj = nn.Linear(dim, final_dim)
        self.min_maskable_frames = min_maskable_frames(cfg.mask_prob, cfg.mask_length)
        self._warned_of_half_waveform = False

    @classmethod
    def build_model(cls, cfg: Wav2Vec2SummaryMixingConfig, task: Any = None) -> Wav2Vec2SummaryMixingModel:
        """Build from fairseq's configuration.

        Raises:
            ValueError: for a configuration that ``validate`` refuses, or a task at another sample rate.
        """
        sample_rate_hz = getattr(getattr(task, "cfg", None), "sample_rate", SAMPLE_RATE_HZ)
        if sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"task.sample_rate={sample_rate_hz}: the filterbank takes {SAMPLE_RATE_HZ}; resample the audio"
            )
        return cls(cfg)

    def _latents(self, source: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, list[int], Tensor | None]:
        """Waveform to latents (B, T, channels), frames per clip, and frame padding mask or None without padding."""
        if source.dtype in (torch.float16, torch.bfloat16) and not self._warned_of_half_waveform:
            self._warned_of_half_waveform = True
            logger.warning(
                "the waveform arrives in %s, which degrades the filterbank features: set task._name=speech_pretraining "
                "(or speech_finetuning), or common.amp in place of common.fp16 / common.bf16",
                source.dtype,
            )
        if padding_mask is None:
            num_samples = torch.full((source.size(0),), source.size(1), device=source.device)
        else:
            num_samples = (~padding_mask).sum(1)
        if self.cfg.feature_grad_mult > 0:
            latents, lengths = self.feature_extractor(source, num_samples)
            if self.cfg.feature_grad_mult != 1.0:
                latents = GradMultiply.apply(latents, self.cfg.feature_grad_mult)
        else:
            with torch.no_grad():
                latents, lengths = self.feature_extractor(source, num_samples)
        frame_padding = None
        frames_per_clip = lengths.tolist()  # the one host synchronisation: fairseq draws masks on the CPU
        if min(frames_per_clip) < latents.size(1):
            frame_padding = padding_mask_from_lengths(lengths, latents.size(1))
        return latents, frames_per_clip, frame_padding

    def _draw_mask(self, lengths: list[int], width: int, pretraining: bool) -> Tensor | None:
        """(B, width) bool on the CPU, True = masked, or None where masks are off.

        Raises:
            ValueError: in pre-training, for a clip too short to be masked.
        """
        cfg = self.cfg
        if cfg.mask_prob == 0:
            return None
        maskable = [row for row, length in enumerate(lengths) if length >= self.min_maskable_frames]
        if pretraining and len(maskable) < len(lengths):
            raise ValueError(
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
                mask_type=str(cfg.mask_selection),
                mask_other=cfg.mask_other,
                no_overlap=cfg.no_mask_overlap,
                min_space=cfg.mask_min_space,
                mask_dropout=cfg.mask_dropout,
            )
        return mask

    def _mask_channels(self, x: Tensor, mask_channel_indices: Tensor | None) -> Tensor:
        """Zero spans of channels of x (B, T, D)."""
        cfg = self.cfg
        if cfg.mask_channel_prob == 0:
            return x
        if mask_channel_indices is None:
            mask_channel_indices = draw_channel_mask(
                x.size(0),
                x.size(2),
                cfg.mask_channel_prob,
                cfg.mask_channel_length,
                mask_type=str(cfg.mask_channel_selection),
                mask_other=cfg.mask_channel_other,
                no_overlap=cfg.no_mask_channel_overlap,
                min_space=cfg.mask_channel_min_space,
            )
        return x.masked_fill(mask_channel_indices.to(x.device)[:, None], 0.0)  # (B, D) -> (B, 1, D)

    def apply_mask(
        self,
        x: Tensor,
        lengths: list[int],
        pretraining: bool,
        mask_indices: Tensor | None = None,
        mask_channel_indices: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Put the mask vector in place of spans of frames, and zeros in place of spans of channels.

        Args:
            x: (B, T, D); lengths: valid frames of each clip.
            mask_indices: (B, T) bool and mask_channel_indices: (B, D) bool, True = masked; drawn where None.

        Returns:
            x masked (B, T, D), and the frame mask (B, T) or None: drawn masks stay on the CPU, where counting and
            listing the masked frames halts no GPU.
        """
        if self.cfg.mask_channel_before:
            x = self._mask_channels(x, mask_channel_indices)
        if mask_indices is None:
            mask_indices = self._draw_mask(lengths, x.size(1), pretraining)
        if mask_indices is not None:
            x = torch.where(mask_indices.to(x.device)[..., None], self.mask_emb.to(x.dtype), x)
        if not self.cfg.mask_channel_before:
            x = self._mask_channels(x, mask_channel_indices)
        return x, mask_indices

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = True,
        features_only: bool = False,
        layer: int | None = None,
        mask_indices: Tensor | None = None,
        mask_channel_indices: Tensor | None = None,
        padding_count: int | None = None,
        corpus_key: Any = None,
        keep_hidden_states: bool = True,
    ) -> dict[str, Any]:
        """Contrastive logits, or with ``features_only`` the encoder's output.

        Args:
            source: (B, num_samples) waveform at 16 kHz.
            padding_mask: (B, num_samples) bool, True = padding, at the end of a clip; or None.
            mask: whether to mask frames.
            layer: with ``features_only``, stop after this layer (from 0), without the final LayerNorm.
            mask_indices, mask_channel_indices: masks to use in place of drawn ones.
            padding_count, corpus_key: of fairseq's signature; without effect.
            keep_hidden_states: with ``features_only``, False leaves ``layer_results`` and ``hidden_states`` empty.

        Returns:
            For pre-training ``x`` (B, M, 1 + negatives) float32 logits of the M masked frames of each clip, the
            positive first, with the quantizer's perplexities and temperature. With ``features_only``: ``x``
            (B, T, D), ``padding_mask`` (B, T) or None, ``features`` (B, T, channels), ``layer_results``: for each
            layer ((T, B, D), None, None) as in fairseq, and ``hidden_states``: the encoder's input and each layer's
            output, (B, T, D).

        Raises:
            ValueError: for a clip too short for one frame or, in pre-training, for the mask.
        """
        latents, lengths, frame_padding = self._latents(source, padding_mask)
        x = self.dropout_input(self.post_extract_proj(latents))
        if mask:
            x, mask_indices = self.apply_mask(x, lengths, not features_only, mask_indices, mask_channel_indices)
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
            raise ValueError(f"model.mask_prob={self.cfg.mask_prob}: pre-training needs masked frames")

        B = x.size(0)
        num_masked = mask_indices.sum(1)
        if not bool((num_masked == num_masked[0]).all()):
            raise ValueError(
                f"masked frames per clip {num_masked.tolist()}: pre-training needs the same number in every clip "
                "of a batch; set model.require_same_masks=true"
            )
        masked = mask_indices.flatten().nonzero().squeeze(1).to(x.device)
        # masked frames, the same number M in every clip: (B, T, D) -> (B * T, D) -> (B * M, D) -> (B, M, D)
        context = self.final_proj(x.flatten(0, 1).index_select(0, masked).view(B, -1, x.size(-1)))
        latents = latents.flatten(0, 1).index_select(0, masked).view(B, -1, latents.size(-1))
        latents = self.dropout_features(latents)
        quantized = self.quantizer(latents, produce_targets=True)
        targets = self.project_q(quantized["x"])
        codes = self.quantizer.to_codebook_index(quantized["targets"])  # (B, M, groups) -> (B, M)
        negatives = sample_negatives(B, context.size(1), self.cfg.num_negatives, context.device)
        return {
            "x": info_nce_logits(context, targets, codes, negatives, self.cfg.logit_temp),
            "padding_mask": frame_padding,
            "prob_perplexity": quantized["prob_perplexity"],
            "code_perplexity": quantized["code_perplexity"],
            "num_vars": quantized["num_vars"],
            "temp": quantized["temp"],
        }

    def extract_features(
        self,
        source: Tensor,
        padding_mask: Tensor | None,
        mask: bool = False,
        layer: int | None = None,
        corpus_key: Any = None,
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
        """(B, M, 1 + N) -> (B * M, 1 + N) for the criterion's cross entropy."""
        return net_output["x"].flatten(0, 1)

    def get_targets(self, sample: Any, net_output: dict[str, Any], expand_steps: bool = True) -> Tensor:
        """The positive stands first: (B * M,) zeros."""
        logits = net_output["x"]
        return logits.new_zeros(logits.size(0) * logits.size(1), dtype=torch.long)

    def get_extra_losses(self, net_output: dict[str, Any]) -> list[Tensor]:
        """The diversity loss alone, 1 - perplexity / entries: ``criterion.loss_weights`` has one entry."""
        return [1.0 - net_output["prob_perplexity"] / net_output["num_vars"]]

    def remove_pretraining_modules(self, last_layer: int | None = None) -> None:
        """Drop what fine-tuning has no use for, and the layers after ``last_layer`` (from 0) if given."""
        self.quantizer = None
        self.project_q = None
        self.final_proj = None
        if last_layer is not None:
            self.encoder.layers = self.encoder.layers[: last_layer + 1]
