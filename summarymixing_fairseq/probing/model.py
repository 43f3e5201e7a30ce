"""``ssl_probe``: a head on the weighted hidden states of a speech encoder, frozen or fine-tuned."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.encoders import Encoder, EncoderSpec, load_encoder, random_encoder
from ..system.errors import InputError
from ..system.files import sha256_of
from .heads import HEADS, ProbeHead, build_head
from .weighted_sum import WeightedSum, normalise_states

logger = logging.getLogger(__name__)

# Options of the heads by the names of their fields here; each head is given those it has, set ones only.
HEAD_OPTIONS = {
    "num_layers": "num_layers",
    "hidden_dim": "hidden_dim",
    "dropout": "dropout",
    "embedding_dim": "embedding_dim",
    "cosine": "cosine",
    "channels": "channels",
    "aggregated_channels": "aggregated_channels",
    "width": "alpha",
}


@dataclass
class SslProbeConfig(FairseqDataclass):
    """Encoder, how its hidden states are weighed, and the head."""

    encoder_path: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint of wav2vec2_summarymixing, wav2vec 2.0 or HuBERT; pre-trained or fine-tuned"},
    )
    random_encoder: bool = field(
        default=False, metadata={"help": "the encoder of encoder_path with random weights: what a probe does unaided"}
    )
    freeze: bool = field(default=True, metadata={"help": "leave the encoder as it is; false: train it along"})
    encoder_dropout: float = field(
        default=0.0, metadata={"help": "every dropout of the encoder while it is trained (freeze: false)"}
    )
    layer_norm: bool = field(
        default=False, metadata={"help": "LayerNorm without parameters on each hidden state before the weighted sum"}
    )
    head: str = field(default="mean_linear", metadata={"help": f"one of {', '.join(HEADS)}"})
    num_layers: Optional[int] = field(default=None, metadata={"help": "recurrent layers of the head"})
    hidden_dim: Optional[int] = field(default=None, metadata={"help": "units a direction of the head's LSTMs"})
    dropout: Optional[float] = field(default=None, metadata={"help": "dropout of the head"})
    embedding_dim: Optional[int] = field(default=None, metadata={"help": "width of a speaker embedding"})
    channels: Optional[int] = field(default=None, metadata={"help": "channels of ECAPA-TDNN's frame layers"})
    aggregated_channels: Optional[int] = field(
        default=None, metadata={"help": "channels of ECAPA-TDNN's layer on the outputs of all blocks"}
    )
    width: Optional[float] = field(default=None, metadata={"help": "ContextNet's alpha, a factor of its channels"})
    cosine: Optional[bool] = field(
        default=None, metadata={"help": "the head gives cosines to class weights, for criterion aam_softmax"}
    )
    encoder_sha256: Optional[str] = field(
        default=None,
        metadata={"help": "of the file encoder_path as it was read; written by the task, not an option"},
    )
    # fairseq's own name for it: its audio tasks copy this field into checkpoints, which so need no encoder_path
    w2v_args: Any = None


def head_options(cfg: SslProbeConfig) -> Dict[str, Any]:
    """Options for ``build_head`` out of the fields that are set.

    Raises:
        ValueError: for a head that there is not.
    """
    if cfg.head not in HEADS:
        raise ValueError(f"model.head={cfg.head!r}: choose one of {', '.join(HEADS)}")
    return {option: cfg[name] for name, option in HEAD_OPTIONS.items() if cfg[name] is not None}


@register_model("ssl_probe", dataclass=SslProbeConfig)
class SslProbe(BaseFairseqModel):
    """Encoder, weighted sum of its hidden states, head (MP3S, arXiv 2308.14456, Section 3).

    Parameters bear ``param_group`` head, layer_weights or encoder for fairseq's composite optimizer.

    Args:
        encoder: of hidden states; head: of ``modules.probes``.
        freeze: the encoder computes without gradient, always in eval mode; no mask in either case.
        layer_norm: normalise each hidden state.
    """

    def __init__(self, encoder: Encoder, head: ProbeHead, freeze: bool = True, layer_norm: bool = False):
        super().__init__()
        self.encoder = encoder
        self.weighted_sum = WeightedSum(encoder.num_states)
        self.head = head
        self.freeze = freeze
        self.layer_norm = layer_norm
        self.gives_cosines = head.gives_cosines
        # digests of the encoder it began with and of its data, which a task fills in: what a checkpoint is of
        self.register_buffer("trained_on", torch.zeros(2, 32, dtype=torch.uint8))
        if freeze:
            encoder.requires_grad_(False)
            encoder.eval()
        for module, group in ((encoder, "encoder"), (self.weighted_sum, "layer_weights"), (head, "head")):
            for parameter in module.parameters():
                parameter.param_group = group

    @classmethod
    def build_model(cls, cfg: SslProbeConfig, task: Any = None) -> "SslProbe":
        """Build from fairseq's configuration; ``cfg.w2v_args`` of a checkpoint stands for the encoder's file.

        Raises:
            InputError: for an encoder that cannot be read.
            ValueError: for a head that there is not, or an option it lacks.
        """
        options = head_options(cfg)
        dropout = 0.0 if cfg.freeze else cfg.encoder_dropout
        if cfg.w2v_args is not None:
            spec = cfg.w2v_args
            if OmegaConf.is_config(spec):
                spec = OmegaConf.to_container(spec, resolve=True)
            encoder = random_encoder(EncoderSpec.from_dict(spec), dropout)
        elif not cfg.encoder_path:
            raise InputError("model.encoder_path is not set: name the checkpoint to probe")
        else:
            encoder = load_encoder(cfg.encoder_path, dropout)
            cfg.encoder_sha256 = sha256_of(Path(cfg.encoder_path))
            if cfg.random_encoder:
                encoder = random_encoder(encoder.spec, dropout)
            cfg.w2v_args = encoder.spec.to_dict()
        logger.info("probing %s by %s", encoder.describe(), cfg.head)
        head = build_head(cfg.head, encoder.state_dim, len(task.target_dictionary), **options)
        model = cls(encoder, head, cfg.freeze, cfg.layer_norm)
        model.cfg = cfg
        return model

    def train(self, mode: bool = True) -> "SslProbe":
        """As torch's, but a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.freeze:
            self.encoder.eval()
        return self

    def encode(self, source: Tensor, padding_mask: Optional[Tensor]) -> Tuple[List[Tensor], Optional[Tensor]]:
        """Hidden states as the head's weighted sum takes them.

        Args:
            source: (B, num_samples) waveform; padding_mask: (B, num_samples) bool, True = padding, or None.

        Returns:
            (B, T, D) for each state, and their padding mask (B, T) or None.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            # fairseq hands over float64 where it would otherwise round the waveform
            states, frame_padding = self.encoder(source.float(), padding_mask)
            if self.layer_norm:
                states = normalise_states(states)
        return states, frame_padding

    def forward(
        self,
        source: Optional[Tensor] = None,
        padding_mask: Optional[Tensor] = None,
        states: Optional[Tensor] = None,
        **_: Any,
    ) -> Dict[str, Any]:
        """Scores of symbols a frame, or of classes a clip.

        Args:
            source: (B, num_samples) waveform at 16 kHz, with padding_mask (B, num_samples) bool, True = padding.
            states: (B, states, T, D) in place of source: what ``encode`` gave, with padding_mask (B, T).

        Returns:
            ``scores``: (B, T, symbols) or (B, classes), ``padding_mask`` (B, T) or None, and from a speaker's head
            ``embeddings`` (B, embedding_dim).

        Raises:
            InputError: for features that are not finite; ValueError: for a clip shorter than the head takes.
        """
        if states is None:
            hidden_states, frame_padding = self.encode(source, padding_mask)
        else:
            hidden_states, frame_padding = states.unbind(1), padding_mask
        x = self.weighted_sum(hidden_states)
        # padding may hold anything; a sum is one pass, and finite where all summands are but for absurd levels
        valid = x if frame_padding is None else x.masked_fill(frame_padding[..., None], 0.0)
        if not bool(torch.isfinite(valid.detach().float().sum())):
            raise InputError(
                "the encoder's features, weighted, are not finite numbers: has its pre-training, or this run, diverged?"
            )
        if not hasattr(self.head, "embed"):
            return {"scores": self.head(x, frame_padding), "padding_mask": frame_padding}
        embeddings = self.head.embed(x, frame_padding)
        return {"scores": self.head.classifier(embeddings), "embeddings": embeddings, "padding_mask": frame_padding}

    def get_normalized_probs(
        self, net_output: Dict[str, Any], log_probs: bool, sample: Optional[Dict[str, Any]] = None
    ) -> Tensor:
        """(T, B, symbols), as fairseq's CTC criterion takes them, or (B, classes); float32."""
        scores = net_output["scores"].float()
        if scores.dim() == 3:
            scores = scores.transpose(0, 1)  # (B, T, C) -> (T, B, C)
        return F.log_softmax(scores, -1) if log_probs else F.softmax(scores, -1)

    def layer_weights(self) -> List[float]:
        """Weight of each hidden state, their sum 1."""
        return self.weighted_sum.weights().detach().cpu().tolist()

    def max_positions(self) -> None:
        """Any length."""
        return None


def pooled_states(states: Sequence[Tensor], frame_padding: Optional[Tensor]) -> List[Tensor]:
    """Mean over valid frames of each hidden state, (B, T, D) -> (B, 1, D).

    The mean of a weighted sum is the weighted sum of means: all that a head which begins with the mean need keep.
    """
    if frame_padding is None:
        return [state.float().mean(1, keepdim=True) for state in states]
    valid = (~frame_padding)[..., None]
    num_valid = valid.sum(1, keepdim=True)
    return [torch.where(valid, state.float(), 0.0).sum(1, keepdim=True) / num_valid for state in states]
