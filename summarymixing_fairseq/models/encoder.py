"""Feature extractor and context encoder of a configuration."""

from __future__ import annotations

from fairseq.distributed import fsdp_wrap

from ..modules.chunks import ChunkDraws
from ..modules.conformer import ConformerEncoder, ConformerLayer
from ..modules.filterbank import LogMelFilterbank
from ..modules.frontend import FilterbankFrontend
from ..modules.mixing import MIXERS
from .config import Wav2Vec2SummaryMixingConfig, layer_mixers


def chunk_draws(cfg: Wav2Vec2SummaryMixingConfig) -> ChunkDraws | None:
    """What the training of a streaming model draws; None of another."""
    if not cfg.streaming:
        return None
    (low, high), (least, most) = cfg.chunk_frames, cfg.left_frames
    return ChunkDraws((low, high), (least, most), cfg.full_context)


def build_frontend(cfg: Wav2Vec2SummaryMixingConfig) -> FilterbankFrontend:
    """Feature extractor of a configuration; without gradients where ``feature_grad_mult`` is 0."""
    frontend = FilterbankFrontend(
        LogMelFilterbank(cfg.num_mel_bins),
        cfg.frontend_channels,
        cfg.frontend_kernel_sizes,
        cfg.frontend_strides,
        running=cfg.streaming,
    )
    if cfg.feature_grad_mult == 0:
        # frozen: no optimizer may decay it, nor processes wait for its gradient
        frontend.requires_grad_(False)
    return fsdp_wrap(frontend)


def build_encoder(cfg: Wav2Vec2SummaryMixingConfig) -> ConformerEncoder:
    """Context encoder of a configuration."""
    mixers = iter(layer_mixers(cfg))

    def build_layer() -> ConformerLayer:
        name, options = next(mixers)
        layer = ConformerLayer(
            MIXERS[name](options, cfg.encoder_embed_dim, cfg.attention_dropout),
            cfg.encoder_embed_dim,
            cfg.encoder_ffn_embed_dim,
            cfg.depthwise_conv_kernel_size,
            cfg.dropout,
            cfg.activation_dropout,
            "layer" if cfg.checkpoint_activations else cfg.recompute,
        )
        if cfg.init == "torch":
            for module in layer.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
        return fsdp_wrap(layer)  # under ddp_backend=fully_sharded each layer is gathered when its turn comes

    encoder = ConformerEncoder(
        build_layer,
        cfg.encoder_layers,
        cfg.encoder_embed_dim,
        cfg.encoder_layerdrop,
        cfg.compile_layers,
        cfg.final_norm_eps,
        chunk_draws(cfg),
        cfg.positions == "sinusoids",
    )
    # wrapped by fsdp_wrap: its weights are sharded over the processes
    encoder.run_dropped_layers = not isinstance(encoder.layers[0], ConformerLayer)
    return encoder
