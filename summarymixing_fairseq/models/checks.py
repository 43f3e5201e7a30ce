"""What a configuration of ``wav2vec2_summarymixing`` may hold."""

from __future__ import annotations

from dataclasses import fields

from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config

from ..modules.conformer import RECOMPUTE
from ..modules.frontend import stacked_frames
from ..modules.masking import min_maskable_frames
from ..system.options import MAX_WIDTH, Refused, check_choice, check_flag, check_list, check_number
from .config import (
    DEFAULTS,
    Wav2Vec2SummaryMixingConfig,
    layer_mixers,
    naming_the_field,
    num_parameters,
    objective_options,
    same_value,
    value_of,
)

# Fields of fairseq's that this model reads. Any other that is set to something else than its default would have no
# effect, which `validate` refuses. (`checkpoint_activations`, `encoder_layerdrop` and the masks are also written by
# fairseq's fine-tuning.)
USED_PARENT_FIELDS = frozenset(
    [
        "encoder_layers",
        "encoder_embed_dim",
        "encoder_ffn_embed_dim",
        "encoder_attention_heads",
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "encoder_layerdrop",
        "dropout_input",
        "dropout_features",
        "final_dim",
        "logit_temp",
        "quantize_targets",
        "feature_grad_mult",
        "quantizer_depth",
        "quantizer_factor",
        "latent_vars",
        "latent_groups",
        "latent_dim",
        "mask_length",
        "mask_prob",
        "mask_selection",
        "mask_other",
        "require_same_masks",
        "mask_dropout",
        "mask_channel_length",
        "mask_channel_prob",
        "mask_channel_before",
        "mask_channel_selection",
        "mask_channel_other",
        "num_negatives",
        "latent_temp",
        "checkpoint_activations",
        "depthwise_conv_kernel_size",
    ]
)

# What a value may be. Bounds lie far above any model that was published: they stop what would fill memory or never end.
MAX_KERNEL_SIZE = 1_000
MAX_CONVOLUTIONS = 16
MAX_PARAMETERS = 20_000_000_000
MAX_CHUNK_FRAMES = 100_000
MASK_SELECTIONS = ("static", "normal", "poisson")
INITS = ("xavier", "torch")
POSITIONS = ("sinusoids", "none")
COUNTS = {
    "encoder_layers": 1_000,
    "encoder_embed_dim": MAX_WIDTH,
    "encoder_ffn_embed_dim": 4 * MAX_WIDTH,
    "mask_length": 1_000,
    "num_mel_bins": 1_000,
    "frontend_channels": MAX_WIDTH,
}
PROBABILITIES = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "encoder_layerdrop",
    "dropout_input",
    "mask_prob",
    "mask_dropout",
    "mask_channel_prob",
    "full_context",
)
FLAGS = (
    "quantize_targets",
    "require_same_masks",
    "mask_fill",
    "mask_channel_before",
    "checkpoint_activations",
    "compile_layers",
    "streaming",
)
_SPAN = "must be 0 to 1,000"
# Whether whole, lowest, highest, and what to say of others.
NUMBERS: dict[str, tuple[bool, float, float, str]] = {
    "feature_grad_mult": (False, 0, 1e6, "must be at least 0 (0: the feature extractor is frozen), at most 1e6"),
    "mask_other": (False, 0, 1_000, _SPAN),
    "mask_channel_length": (True, 0, 1_000, _SPAN),
    "mask_channel_other": (False, 0, 1_000, _SPAN),
    "depthwise_conv_kernel_size": (True, 1, 10_001, "must be odd and positive, at most 10,001"),
    "final_norm_eps": (False, 1e-12, 1, "must be 1e-12 to 1"),
}

# Without effect either, but fairseq-train sets them along with fields of the same name in other groups.
SHARED_NAMES = frozenset(("_name", "fp16", "max_positions", "required_seq_len_multiple"))


def validate(cfg: Wav2Vec2SummaryMixingConfig) -> None:
    """Check a configuration, which the modules take as it is. Any value may come, as out of a checkpoint.

    Raises:
        InputError: naming the field, its value and what is allowed.
    """
    with naming_the_field():
        _check_fields(cfg)
    mixers = layer_mixers(cfg)
    objective_options(cfg)
    with naming_the_field():
        for name, options in mixers:
            if cfg.streaming and not options.streams():
                raise Refused("streaming", True, f"the mixer {name} does not stream, or not with these options")
        if cfg.streaming and cfg.compile_layers:
            raise Refused("compile_layers", True, "torch's compiler has no code for chunks of any size (streaming)")
        _, num_frames, shift = stacked_frames(list(zip(cfg.frontend_kernel_sizes, cfg.frontend_strides)))
        if cfg.streaming and num_frames < shift:  # the strides pass over frames of the filterbank
            allowed = "no filterbank frame may be skipped in a stream: lower a stride or raise a kernel size"
            raise Refused("frontend_strides", list(cfg.frontend_strides), allowed)
        if (wanted := num_parameters(cfg)) > MAX_PARAMETERS:
            allowed = f"the sizes ask for {wanted:,} parameters, {MAX_PARAMETERS:,} may be"
            raise Refused("encoder_layers", cfg.encoder_layers, allowed)
        for parent in fields(Wav2Vec2Config):
            if parent.name in USED_PARENT_FIELDS | SHARED_NAMES:
                continue
            value = value_of(cfg, parent.name, parent.default)
            if not same_value(value, parent.default):
                raise Refused(parent.name, value, f"has no effect in this model; leave it at {parent.default!r}")


def _check_fields(cfg: Wav2Vec2SummaryMixingConfig) -> None:
    """Raises Refused for a field of the model itself, as against mixer and objective."""
    for name in FLAGS:
        check_flag(name, value_of(cfg, name))
    check_choice("recompute", value_of(cfg, "recompute"), RECOMPUTE)
    check_choice("init", value_of(cfg, "init"), INITS)
    check_choice("positions", value_of(cfg, "positions"), POSITIONS)
    if not cfg.quantize_targets:
        raise Refused("quantize_targets", cfg.quantize_targets, "targets are always quantized here: set it to true")
    for name, most in COUNTS.items():
        check_number(name, value_of(cfg, name), True, 1, most)
    for name in PROBABILITIES:
        check_number(name, value_of(cfg, name), False, 0, 1, "must be a probability, 0 to 1")
    for name, (whole, low, high, allowed) in NUMBERS.items():
        check_number(name, value_of(cfg, name), whole, low, high, allowed)
    if cfg.depthwise_conv_kernel_size % 2 == 0:
        raise Refused("depthwise_conv_kernel_size", cfg.depthwise_conv_kernel_size, "must be odd and positive")
    for name in ("frontend_kernel_sizes", "frontend_strides"):
        allowed = f"must be 1 to {MAX_CONVOLUTIONS} whole numbers of 1 to {MAX_KERNEL_SIZE:,}"
        check_list(name, value_of(cfg, name), range(1, MAX_CONVOLUTIONS + 1), True, 1, MAX_KERNEL_SIZE, allowed)
    if len(cfg.frontend_strides) != len(cfg.frontend_kernel_sizes):
        allowed = f"must be as many as model.frontend_kernel_sizes={list(cfg.frontend_kernel_sizes)}"
        raise Refused("frontend_strides", list(cfg.frontend_strides), allowed)
    for name in ("chunk_frames", "left_frames"):
        allowed = f"must be the fewest and the most frames, 1 to {MAX_CHUNK_FRAMES:,}"
        given = value_of(cfg, name)
        check_list(name, given, range(2, 3), True, 1, MAX_CHUNK_FRAMES, allowed)
        if given[0] > given[1]:
            raise Refused(name, given, allowed)
    for name in ("chunk_frames", "left_frames", "full_context"):
        if not cfg.streaming and not same_value(value_of(cfg, name), DEFAULTS[name]):
            raise Refused(name, value_of(cfg, name), "is of use with model.streaming=true only")
    if cfg.mask_dropout == 1:
        raise Refused("mask_dropout", cfg.mask_dropout, "would unmask every frame")
    if cfg.mask_channel_prob > 0:
        if cfg.mask_channel_length < 1:
            raise Refused("mask_channel_length", cfg.mask_channel_length, "must be at least 1")
        try:
            min_channels = min_maskable_frames(cfg.mask_channel_prob, cfg.mask_channel_length)
        except ValueError:
            raise Refused("mask_channel_prob", cfg.mask_channel_prob, "masks every channel: lower it") from None
        if cfg.encoder_embed_dim < min_channels:
            allowed = f"spans this long can zero all {cfg.encoder_embed_dim} channels (model.encoder_embed_dim)"
            raise Refused("mask_channel_length", cfg.mask_channel_length, allowed)
    # fairseq's mask function asks numpy for functions that it no longer has
    for prefix in ("mask", "mask_channel"):
        selection = value_of(cfg, f"{prefix}_selection")
        if str(selection) not in MASK_SELECTIONS:
            allowed = f"fairseq's mask function fails on it: use {' or '.join(MASK_SELECTIONS)}"
            raise Refused(f"{prefix}_selection", selection, allowed)
