"""Configuration of ``wav2vec2_summarymixing``: fairseq's ``Wav2Vec2Config`` and the fields it lacks."""

import numbers
from collections.abc import Container
from dataclasses import dataclass, field, fields
from typing import Any, List  # not list[int]: fairseq reads these annotations on every Python

import numpy as np
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from omegaconf import ListConfig
from omegaconf.errors import OmegaConfBaseException

from ..modules.mixing import MIXERS
from ..modules.mixing.summarymixing import ACTIVATIONS, MODES

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
        "no_mask_overlap",
        "mask_min_space",
        "require_same_masks",
        "mask_dropout",
        "mask_channel_length",
        "mask_channel_prob",
        "mask_channel_before",
        "mask_channel_selection",
        "mask_channel_other",
        "no_mask_channel_overlap",
        "mask_channel_min_space",
        "num_negatives",
        "latent_temp",
        "checkpoint_activations",
        "depthwise_conv_kernel_size",
    ]
)

# What a value may be. Bounds lie far above any model that was published: they stop what would fill memory or never end.
MAX_WIDTH = 65_536
MAX_KERNEL_SIZE = 1_000
MAX_CONVOLUTIONS = 16
MAX_PARAMETERS = 20_000_000_000
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6
MASK_SELECTIONS = ("static", "normal", "poisson")
COUNTS = {
    "encoder_layers": 1_000,
    "encoder_embed_dim": MAX_WIDTH,
    "encoder_ffn_embed_dim": 4 * MAX_WIDTH,
    "encoder_attention_heads": MAX_WIDTH,
    "summary_heads": MAX_WIDTH,
    "latent_vars": 1_000_000,
    "latent_groups": MAX_WIDTH,
    "num_negatives": 100_000,
    "mask_length": 1_000,
    "num_mel_bins": 1_000,
    "frontend_channels": MAX_WIDTH,
    "quantizer_depth": 100,
    "quantizer_factor": 1_000,
}
WIDTHS = {
    "local_hidden_dim": "encoder_embed_dim",
    "local_out_dim": "encoder_embed_dim",
    "summary_hidden_dim": "encoder_embed_dim",
    "summary_out_dim": "encoder_embed_dim",
    "final_dim": "encoder_embed_dim",
    "latent_dim": "final_dim",
}
PROBABILITIES = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "encoder_layerdrop",
    "dropout_input",
    "dropout_features",
    "mask_prob",
    "mask_dropout",
    "mask_channel_prob",
)
FLAGS = (
    "quantize_targets",
    "no_mask_overlap",
    "no_mask_channel_overlap",
    "require_same_masks",
    "mask_channel_before",
    "checkpoint_activations",
    "summary_layer_norm",
    "fast_kernels",
    "compile_layers",
)
_SPAN = "must be 0 to 1,000"
# Whether whole, lowest, highest, and what to say of others.
NUMBERS = {
    "feature_grad_mult": (False, 0, 1e6, "must be at least 0 (0: the feature extractor is frozen), at most 1e6"),
    "logit_temp": (False, MIN_TEMPERATURE, MAX_TEMPERATURE, "must be positive, 1e-6 to 1e6"),
    "mask_other": (False, 0, 1_000, _SPAN),
    "mask_min_space": (True, 0, 1_000, _SPAN),
    "mask_channel_length": (True, 0, 1_000, _SPAN),
    "mask_channel_other": (False, 0, 1_000, _SPAN),
    "mask_channel_min_space": (True, 0, 1_000, _SPAN),
    "depthwise_conv_kernel_size": (True, 1, 10_001, "must be odd and positive, at most 10,001"),
}

# Without effect either, but fairseq-train sets them along with fields of the same name in other groups.
SHARED_NAMES = frozenset(("_name", "fp16", "max_positions", "required_seq_len_multiple"))


@dataclass
class Wav2Vec2SummaryMixingConfig(Wav2Vec2Config):
    """New fields only; the sizes, masks, quantizer and negatives are fairseq's own fields.

    ``attention_dropout`` is the dropout inside whichever mixer: on attention's weights, or on the cell's [f ; s].
    """

    mixer: str = field(
        default="summarymixing",
        metadata={"help": "token mixer of every layer: summarymixing (linear in time) or mhsa (attention by SDPA)"},
    )
    summary_mode: str = field(
        default="full",
        metadata={"help": "form of the SummaryMixing cell: full, lite (no local branch) or expdecay (decaying mean)"},
    )
    summary_heads: int = field(default=8, metadata={"help": "diagonal blocks of the cell's layers; divides its widths"})
    local_hidden_dim: int = field(
        default=0, metadata={"help": "hidden width of the local branch; 0: encoder_embed_dim"}
    )
    local_out_dim: int = field(default=0, metadata={"help": "output width of the local branch; 0: encoder_embed_dim"})
    summary_hidden_dim: int = field(
        default=0, metadata={"help": "hidden width of the summary branch; 0: encoder_embed_dim"}
    )
    summary_out_dim: int = field(
        default=0, metadata={"help": "output width of the summary branch; 0: encoder_embed_dim"}
    )
    summary_layer_norm: bool = field(
        default=True, metadata={"help": "LayerNorm after the local branch and after the mean of the summary branch"}
    )
    summary_activation: str = field(default="gelu", metadata={"help": "activation of the cell: gelu, relu or swish"})
    num_mel_bins: int = field(default=80, metadata={"help": "mel bins of the filterbank"})
    frontend_channels: int = field(
        default=512, metadata={"help": "channels of the feature extractor's convolutions, width of the latents"}
    )
    frontend_kernel_sizes: List[int] = field(
        default_factory=lambda: [3, 3], metadata={"help": "kernel size of each convolution of the feature extractor"}
    )
    frontend_strides: List[int] = field(
        default_factory=lambda: [2, 1], metadata={"help": "stride of each convolution of the feature extractor"}
    )
    fast_kernels: bool = field(
        default=True,
        metadata={"help": "on a CPU, our own dropout, depthwise convolution and backward passes; false: torch's"},
    )
    compile_layers: bool = field(
        default=False,
        metadata={"help": "torch.compile the encoder layers: on GPUs; on CPUs fast_kernels alone is faster"},
    )


def _refuse(name: str, value: object, allowed: str) -> None:
    # a value out of a checkpoint may be of any size
    shown = repr(value)
    raise ValueError(f"model.{name}={shown if len(shown) <= 80 else shown[:77] + '...'}: {allowed}")


def _value(cfg: Wav2Vec2SummaryMixingConfig, name: str, *default: object) -> Any:
    """A field's value, or a default if there is no such field; ValueError where it refers to what is not there."""
    try:
        return getattr(cfg, name, *default)
    except (AttributeError, OmegaConfBaseException) as error:
        raise ValueError(f"model.{name} has no value: {str(error).splitlines()[0]}") from None


def _is_number(value: object, whole: bool, low: float, high: float) -> bool:
    """Whether a value is a number within two bounds; a NaN is in none."""
    kind = numbers.Integral if whole else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool) and bool(low <= value <= high)


def num_parameters(cfg: Wav2Vec2SummaryMixingConfig) -> int:
    """How many weights a configuration that is valid asks for, before any is made; without biases and norms."""
    dim, channels, bins = cfg.encoder_embed_dim, cfg.frontend_channels, cfg.num_mel_bins
    if cfg.mixer == "mhsa":
        mixer = 4 * dim * dim
    else:
        local, local_out = cfg.local_hidden_dim or dim, cfg.local_out_dim or dim
        summary, summary_out = cfg.summary_hidden_dim or dim, cfg.summary_out_dim or dim
        blocks = dim * local + local * local_out + dim * summary + summary * summary_out
        mixer = blocks // cfg.summary_heads + (local_out + summary_out) * dim
    layer = 4 * dim * cfg.encoder_ffn_embed_dim + 3 * dim * dim + dim * cfg.depthwise_conv_kernel_size + mixer
    kernels = list(cfg.frontend_kernel_sizes)
    frontend = channels * sum(k * (channels if i else bins) for i, k in enumerate(kernels))
    final = cfg.final_dim or dim
    quantized = cfg.latent_dim or final
    entries = cfg.latent_vars * cfg.latent_groups
    quantizer, inner = cfg.latent_vars * quantized, channels
    if cfg.quantizer_depth > 1:
        inner = channels * cfg.quantizer_factor
        quantizer += (channels + (cfg.quantizer_depth - 2) * inner) * inner
    quantizer += inner * entries
    return cfg.encoder_layers * layer + frontend + quantizer + quantized * final + (final + channels) * dim


def validate(cfg: Wav2Vec2SummaryMixingConfig) -> None:
    """Check what the modules cannot check themselves. Any value may come, as out of a checkpoint.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    for name, known in (
        ("mixer", sorted(MIXERS)),
        ("summary_mode", MODES),
        ("summary_activation", sorted(ACTIVATIONS)),
    ):
        value = _value(cfg, name)
        if not isinstance(value, str) or value not in known:
            _refuse(name, value, f"choose one of {', '.join(known)}")
    for name in FLAGS:
        if not isinstance(value := _value(cfg, name), (bool, np.bool_)):
            _refuse(name, value, "must be true or false")
    if not cfg.quantize_targets:
        _refuse("quantize_targets", cfg.quantize_targets, "targets are always quantized here: set it to true")
    for name, high in COUNTS.items():
        if not _is_number(value := _value(cfg, name), True, 1, high):
            _refuse(name, value, f"must be at least 1, at most {high:,}")
    for name, default in WIDTHS.items():
        if not _is_number(value := _value(cfg, name), True, 0, MAX_WIDTH):
            _refuse(name, value, f"must be a width, or 0 for {default}; at most {MAX_WIDTH:,}")
    for name in PROBABILITIES:
        if not _is_number(value := _value(cfg, name), False, 0, 1):
            _refuse(name, value, "must be a probability, 0 to 1")
    for name, (whole, low, high, allowed) in NUMBERS.items():
        if not _is_number(value := _value(cfg, name), whole, low, high):
            _refuse(name, value, allowed)
    for name in ("frontend_kernel_sizes", "frontend_strides"):
        allowed = f"must be 1 to {MAX_CONVOLUTIONS} whole numbers of 1 to {MAX_KERNEL_SIZE:,}"
        _check_list(name, _value(cfg, name), range(1, MAX_CONVOLUTIONS + 1), True, 1, MAX_KERNEL_SIZE, allowed)
    allowed = f"must be start, end and decay, each {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}"
    _check_list("latent_temp", _value(cfg, "latent_temp"), (3,), False, MIN_TEMPERATURE, MAX_TEMPERATURE, allowed)
    if cfg.mask_dropout == 1:
        _refuse("mask_dropout", cfg.mask_dropout, "would unmask every frame")
    if cfg.mask_channel_prob > 0 and cfg.mask_channel_length < 1:
        _refuse("mask_channel_length", cfg.mask_channel_length, "must be at least 1")
    # fairseq's mask function asks numpy for functions that it no longer has
    for prefix in ("mask", "mask_channel"):
        selection = _value(cfg, f"{prefix}_selection")
        if str(selection) not in MASK_SELECTIONS:
            allowed = f"fairseq's mask function fails on it: use {' or '.join(MASK_SELECTIONS)}"
            _refuse(f"{prefix}_selection", selection, allowed)
        if _value(cfg, f"no_{prefix}_overlap"):
            _refuse(f"no_{prefix}_overlap", True, "fairseq's mask function fails on it: leave it at false")
    heads_name = "encoder_attention_heads" if cfg.mixer == "mhsa" else "summary_heads"
    heads = getattr(cfg, heads_name)
    if cfg.encoder_embed_dim % heads:
        _refuse(heads_name, heads, f"must divide encoder_embed_dim={cfg.encoder_embed_dim}")
    vq_dim = cfg.latent_dim or cfg.final_dim or cfg.encoder_embed_dim
    if vq_dim % cfg.latent_groups:
        allowed = f"must divide the quantizer's width {vq_dim} (latent_dim, or final_dim)"
        _refuse("latent_groups", cfg.latent_groups, allowed)
    if (wanted := num_parameters(cfg)) > MAX_PARAMETERS:
        _refuse(
            "encoder_layers", cfg.encoder_layers, f"the sizes ask for {wanted:,} parameters, {MAX_PARAMETERS:,} may be"
        )
    for parent in fields(Wav2Vec2Config):
        if parent.name in USED_PARENT_FIELDS | SHARED_NAMES:
            continue
        value = _value(cfg, parent.name, parent.default)
        if not _same(value, parent.default):
            _refuse(parent.name, value, f"has no effect in this model; leave it at {parent.default!r}")


def _check_list(name: str, value: object, lengths: Container[int], whole: bool, low: float, high: float, allowed: str):
    """Raise ValueError unless a value is a list of so many numbers within two bounds."""
    if not isinstance(value, (list, tuple, ListConfig)) or len(value) not in lengths:
        _refuse(name, value, allowed)
    try:
        entries = list(value)
    except OmegaConfBaseException:  # an entry without value
        entries = [None]
    if not all(_is_number(entry, whole, low, high) for entry in entries):
        _refuse(name, value, allowed)


def _same(value: object, default: object) -> bool:
    try:
        return bool(value == default)
    except (TypeError, ValueError):  # an array, which has no truth
        return False
