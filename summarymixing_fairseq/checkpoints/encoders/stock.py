"""Hidden states of fairseq's wav2vec 2.0 (arXiv 2006.11477) and HuBERT (arXiv 2106.07447), of its own modules."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import torch.nn.functional as F
from fairseq.models.wav2vec.wav2vec2 import ConvFeatureExtractionModel, TransformerEncoder, Wav2Vec2Config
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ...system.errors import InputError
from .conv_layers import conv_min_samples, conv_output_lengths, parse_conv_layers
from .interface import Encoder, EncoderSpec, noise_settings

KINDS = ("wav2vec2", "hubert")

# Fields that the modules of either model are built from, with fairseq's defaults, which a field that is younger than
# a checkpoint takes.
DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
}
# Forms that change what a hidden state is, with the one that is read.
ONLY = {
    "layer_type": ("transformer", "fairseq's conformer layers let padding into clips, its adapters need a language"),
    "quantize_input": (False, "the encoder's input is drawn from a codebook"),
    "crop_seq_to_multiple": (1, "the last frames of a batch are dropped"),
}
EXTRACTOR_MODES = ("default", "layer_norm")
# the LayerNorm after the last layer, of models with layer_norm_first
FINAL_NORM = "encoder.layer_norm."
# pre-training's heads and the mask, which no hidden state depends on
UNUSED_PREFIXES = (
    *("mask_emb", "quantizer.", "project_q.", "input_quantizer.", "project_inp."),
    *("final_proj.", "target_glu.", "label_embs_concat"),
)


def read_config(model_config: dict[str, Any]) -> dict[str, Any]:
    """The fields that the encoder is built from, plain, out of a checkpoint's configuration.

    Raises:
        InputError: for a value of another type, or a form of the model that is not read.
    """
    for name, (expected, reason) in ONLY.items():
        if model_config.get(name, expected) != expected:
            raise InputError(f"{name}={model_config[name]!r}: only {expected!r} is read ({reason})")
    config = {}
    for name, default in DEFAULTS.items():
        value = model_config.get(name, default)
        if type(value) is not type(default) or (type(value) is int and value < 1):
            raise InputError(f"{name}={value!r}: {default!r} is an example of what is needed")
        config[name] = value
    config["conv_feature_layers"] = [list(layer) for layer in parse_conv_layers(config["conv_feature_layers"])]
    return config


def num_parameters(config: dict[str, Any]) -> int:
    """Parameters of the encoder, roughly: without biases and norms."""
    dim, channels, convolutions = config["encoder_embed_dim"], 1, 0
    for width, kernel_size, _ in config["conv_feature_layers"]:
        convolutions += channels * width * kernel_size
        channels = width
    positions = config["pos_conv_depth"] * config["conv_pos"] * dim * dim // config["conv_pos_groups"]
    layers = config["encoder_layers"] * dim * (4 * dim + 2 * config["encoder_ffn_embed_dim"])
    return convolutions + channels * dim + positions + layers


class StockEncoder(Encoder):
    """wav2vec 2.0 or HuBERT without what hidden states do not depend on; parameters named as in fairseq.

    Valid frames of a batch equal those of each clip alone, which fairseq's own batches do not all:

    - With ``extractor_mode=default`` the first convolution's GroupNorm takes its statistics over the whole width of a
      batch: clips of unequal length go through the feature extractor one by one, the Transformer in a batch.
    - Frames count by the convolutions' lengths for both (HuBERT's own mask marks a frame as padding only where all
      samples of an even share of the batch are).
    - Padding is zeroed before each positional convolution, and left out of its BatchNorm where it has one.
    - Nothing is padded to ``required_seq_len_multiple``, whose frames fairseq masks and cuts off again.

    Args:
        dropout: in place of all its dropouts; LayerDrop and masks are off.

    Raises:
        ValueError: for an unknown ``extractor_mode``; InputError for a field of another type.
    """

    time_first = True

    def __init__(self, spec: EncoderSpec, dropout: float = 0.0, with_output: bool = False):
        super().__init__(spec)
        # of a probe's checkpoint it may hold anything: fields that are not ours to read would reach fairseq's modules
        self.conv_layers = parse_conv_layers(str(spec.config["conv_feature_layers"]))
        config = read_config({**spec.config, "conv_feature_layers": str(self.conv_layers)})
        if config["extractor_mode"] not in EXTRACTOR_MODES:
            raise ValueError(f"extractor_mode={config['extractor_mode']!r}: choose {' or '.join(EXTRACTOR_MODES)}")
        dim, channels = config["encoder_embed_dim"], self.conv_layers[-1][0]
        self.dropout = dropout
        self.feature_extractor = ConvFeatureExtractionModel(
            self.conv_layers, dropout=0.0, mode=config["extractor_mode"], conv_bias=config["conv_bias"]
        )
        self.layer_norm = nn.LayerNorm(channels)
        self.post_extract_proj = nn.Linear(channels, dim) if channels != dim else None
        overrides = {
            **noise_settings(dropout),
            "conv_feature_layers": "",  # TransformerEncoder has no use for it: nothing is left to evaluate
        }
        self.encoder = TransformerEncoder(SimpleNamespace(**{**asdict(Wav2Vec2Config()), **config, **overrides}))
        if config["layer_norm_first"]:
            if with_output:
                self.final_norm = self.encoder.layer_norm
            self.encoder.layer_norm = None

    @staticmethod
    def own_weights(weights: dict[str, Tensor], spec: EncoderSpec, with_output: bool) -> dict[str, Tensor]:
        """See ``Encoder``."""
        own = {name: value for name, value in weights.items() if not name.startswith(UNUSED_PREFIXES)}
        if spec.config["layer_norm_first"]:
            norm = {name: own.pop(name) for name in list(own) if name.startswith(FINAL_NORM)}
            if with_output:
                own.update({f"final_norm.{name[len(FINAL_NORM) :]}": value for name, value in norm.items()})
        return own

    @property
    def latent_norm(self) -> nn.Module:
        return self.layer_norm

    @property
    def layers(self) -> nn.ModuleList:
        return self.encoder.layers

    def branches(self) -> dict[str, nn.Module]:
        """mixer (self-attention) and ffn of each layer."""
        layers: list[tuple[int, Any]] = list(enumerate(self.layers, 1))
        return {
            **{f"{number}.mixer": layer.self_attn for number, layer in layers},
            **{f"{number}.ffn": layer.fc2 for number, layer in layers},
        }

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        return conv_output_lengths(num_samples, self.conv_layers)

    def min_samples(self, num_frames: int = 1) -> int:
        return conv_min_samples(num_frames, self.conv_layers)

    def _features(self, source: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Waveform (B, longest) -> features of the convolutions (B, T, channels)."""
        if padding_mask is None or self.spec.config["extractor_mode"] != "default":
            return self.feature_extractor(source).transpose(1, 2)  # (B, C, T) -> (B, T, C)
        clips = [self.feature_extractor(clip[None, ~padding])[0] for clip, padding in zip(source, padding_mask)]
        return pad_sequence([clip.transpose(0, 1) for clip in clips], batch_first=True)  # (C, T_b) each -> (B, T, C)

    def _positions(self, x: Tensor, frame_padding: Tensor | None) -> Tensor:
        """Positional convolution of x (B, T, D) -> (B, T, D)."""
        num_frames = x.size(1)
        x = x.transpose(1, 2)  # (B, T, D) -> (B, D, T)
        for module in self.encoder.pos_conv:
            if frame_padding is not None and x.size(2) == num_frames:
                # one frame more only between an even kernel and the module that cuts it, which takes it as it is
                x = x.masked_fill(frame_padding[:, None], 0.0)
                if isinstance(module, nn.BatchNorm1d):
                    valid = ~frame_padding
                    # (B, D, T) -> (B, T, D) -> (valid frames, D), and back into zeros
                    normed = module(x.transpose(1, 2)[valid])
                    x = normed.new_zeros(x.size(0), num_frames, x.size(1)).index_put((valid,), normed).transpose(1, 2)
                    continue
            x = module(x)
        return x.transpose(1, 2)  # (B, D, T) -> (B, T, D)

    def _states(
        self, source: Tensor, padding_mask: Tensor | None, frame_padding: Tensor | None, only: int | None
    ) -> list[Tensor]:
        x = self.layer_norm(self._features(source.to(self.layer_norm.weight.dtype), padding_mask))
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        x = F.dropout(x, self.dropout, self.training)
        if frame_padding is not None:
            x = x.masked_fill(frame_padding[..., None], 0.0)
        x = x + self._positions(x, frame_padding)
        if self.encoder.layer_norm is not None:
            x = self.encoder.layer_norm(x)
        x = F.dropout(x, self.dropout, self.training)
        states = [x]
        x = x.transpose(0, 1)  # (B, T, D) -> (T, B, D), as fairseq's layers take it
        for layer in self.encoder.layers[:only]:
            x, _ = layer(x, self_attn_padding_mask=frame_padding, need_weights=False)
            # (T, B, D) -> (B, T, D)
            states = [*states, x.transpose(0, 1)] if only is None else [x.transpose(0, 1)]
        return states
