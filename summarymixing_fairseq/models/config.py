"""Configuration of ``wav2vec2_summarymixing``: fairseq's ``Wav2Vec2Config`` and the fields it lacks."""

from dataclasses import dataclass, field, fields
from typing import List  # not list[int]: fairseq reads these annotations on every Python

from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config

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


def _refuse(cfg: Wav2Vec2SummaryMixingConfig, name: str, allowed: str) -> None:
    raise ValueError(f"model.{name}={getattr(cfg, name)!r}: {allowed}")


def validate(cfg: Wav2Vec2SummaryMixingConfig) -> None:
    """Check what the modules cannot check themselves.

    Raises:
        ValueError: naming the field, its value and what is allowed.
    """
    if cfg.mixer not in MIXERS:
        _refuse(cfg, "mixer", f"choose one of {', '.join(sorted(MIXERS))}")
    if cfg.summary_mode not in MODES:
        _refuse(cfg, "summary_mode", f"choose one of {', '.join(MODES)}")
    if cfg.summary_activation not in ACTIVATIONS:
        _refuse(cfg, "summary_activation", f"choose one of {', '.join(sorted(ACTIVATIONS))}")
    if not cfg.quantize_targets:
        _refuse(cfg, "quantize_targets", "targets are always quantized here: set it to true")
    at_least_one = (
        "encoder_layers encoder_embed_dim encoder_ffn_embed_dim encoder_attention_heads summary_heads latent_vars "
        "latent_groups num_negatives mask_length num_mel_bins frontend_channels"
    )
    for name in at_least_one.split():
        if getattr(cfg, name) < 1:
            _refuse(cfg, name, "must be at least 1")
    for name in ("local_hidden_dim", "local_out_dim", "summary_hidden_dim", "summary_out_dim"):
        if getattr(cfg, name) < 0:
            _refuse(cfg, name, "must be a width, or 0 for encoder_embed_dim")
    for name in [
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "encoder_layerdrop",
        "dropout_input",
        "dropout_features",
        "mask_prob",
        "mask_dropout",
        "mask_channel_prob",
    ]:
        if not 0 <= getattr(cfg, name) <= 1:
            _refuse(cfg, name, "must be a probability, 0 to 1")
    for name in ("final_dim", "latent_dim"):
        if getattr(cfg, name) < 0:
            _refuse(cfg, name, "must be a width, or 0 for the default")
    if cfg.quantizer_depth < 1:
        _refuse(cfg, "quantizer_depth", "must be at least 1")
    if cfg.feature_grad_mult < 0:
        _refuse(cfg, "feature_grad_mult", "must be at least 0 (0: the feature extractor is frozen)")
    if cfg.mask_dropout == 1:
        _refuse(cfg, "mask_dropout", "would unmask every frame")
    if len(cfg.latent_temp) != 3:
        _refuse(cfg, "latent_temp", "must be start, end and decay")
    if cfg.mask_channel_prob > 0 and cfg.mask_channel_length < 1:
        _refuse(cfg, "mask_channel_length", "must be at least 1")
    # fairseq's mask function asks numpy for functions that it no longer has
    for prefix in ("mask", "mask_channel"):
        if str(getattr(cfg, f"{prefix}_selection")) == "uniform":
            _refuse(cfg, f"{prefix}_selection", "fairseq's mask function fails on it: use static, normal or poisson")
        if getattr(cfg, f"no_{prefix}_overlap"):
            _refuse(cfg, f"no_{prefix}_overlap", "fairseq's mask function fails on it: leave it at false")
    if cfg.logit_temp <= 0:
        _refuse(cfg, "logit_temp", "must be positive")
    heads_name = "encoder_attention_heads" if cfg.mixer == "mhsa" else "summary_heads"
    heads = getattr(cfg, heads_name)
    if cfg.encoder_embed_dim % heads:
        _refuse(cfg, heads_name, f"must divide encoder_embed_dim={cfg.encoder_embed_dim}")
    vq_dim = cfg.latent_dim or cfg.final_dim or cfg.encoder_embed_dim
    if vq_dim % cfg.latent_groups:
        _refuse(cfg, "latent_groups", f"must divide the quantizer's width {vq_dim} (latent_dim, or final_dim)")
    for parent in fields(Wav2Vec2Config):
        if parent.name in USED_PARENT_FIELDS | SHARED_NAMES:
            continue
        if getattr(cfg, parent.name, parent.default) != parent.default:
            _refuse(cfg, parent.name, f"has no effect in this model; leave it at {parent.default!r}")
