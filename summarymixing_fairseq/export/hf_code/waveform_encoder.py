"""From waveforms to hidden states, with plain modules: what the models for transformers and for s3prl share."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...modules.chunks import ChunkDraws
from ...modules.conformer import ConformerEncoder, ConformerLayer
from ...modules.filterbank import LogMelFilterbank, padding_mask_from_lengths
from ...modules.frontend import FilterbankFrontend
from ...modules.normalise import normalise_waveform
from .mixers import build_mixer


def add_modules(model: Any, config: Any) -> None:
    """Set ``feature_extractor``, ``post_extract_proj``, ``dropout_input`` and ``encoder`` of a module.

    Args:
        config: fields as of ``SummaryMixingConfig``.
    """
    mixers = iter(config.mixers)

    def build_layer() -> ConformerLayer:
        name, options = next(mixers)
        return ConformerLayer(
            build_mixer(name, embed_dim=config.hidden_size, dropout=config.attention_dropout, **options),
            config.hidden_size,
            config.intermediate_size,
            config.conv_kernel_size,
            config.hidden_dropout,
            config.activation_dropout,
        )

    model.feature_extractor = FilterbankFrontend(
        LogMelFilterbank(config.num_mel_bins),
        config.frontend_channels,
        config.frontend_kernel_sizes,
        config.frontend_strides,
        running=config.streaming is not None,
    )
    model.post_extract_proj = nn.Linear(config.frontend_channels, config.hidden_size)
    model.dropout_input = nn.Dropout(config.feat_proj_dropout)
    model.encoder = ConformerEncoder(
        build_layer,
        len(config.mixers),
        config.hidden_size,
        config.layerdrop,
        norm_eps=config.final_norm_eps,
        streaming=None if config.streaming is None else ChunkDraws(*config.streaming),
        positions=config.positions,
    )


def encode(
    model: Any,
    source: Tensor,
    num_samples: Tensor,
    normalize: bool,
    keep_hidden_states: bool,
    any_lengths: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Encode a padded batch.

    Args:
        source: (B, longest) waveform at 16 kHz, full scale = 1; padding may hold anything.
        num_samples: (B,) valid ones, of the longest clip all.
        normalize: bring each waveform to mean 0 and variance 1 first.
        any_lengths: reckon with padding without a look at ``num_samples``, for a graph.

    Returns:
        (B, T, D) after the last LayerNorm, and the encoder's input and each layer's output before it, if kept.

    Raises:
        ValueError: if even the longest clip is too short for one frame.
    """
    padding_mask = None
    if any_lengths or int(num_samples.min()) < source.size(1):
        padding_mask = padding_mask_from_lengths(num_samples, source.size(1))
        source = source.masked_fill(padding_mask, 0.0)
    if normalize:
        source = normalise_waveform(source, padding_mask)
    features = model.feature_extractor(source, num_samples)
    num_frames, frame_padding = features.latents.size(1), None
    if any_lengths or int(features.lengths.min()) < num_frames:
        frame_padding = padding_mask_from_lengths(features.lengths, num_frames)
    x = model.dropout_input(model.post_extract_proj(features.latents))
    output, states = model.encoder(x, frame_padding, keep_hidden_states=keep_hidden_states)
    return output, states
