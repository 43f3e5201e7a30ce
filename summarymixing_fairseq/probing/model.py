"""``ssl_probe``: a head on the weighted hidden states of a speech encoder, frozen or fine-tuned."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, cast

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.encoders import Encoder, EncoderSpec, load_encoder, random_encoder
from ..checkpoints.hf_folder import content_sha256
from ..modules.conformer import ConformerLayer
from ..modules.mixing.summarymixing import SummaryMixing
from ..system.errors import InputError
from ..system.finite import is_finite
from .heads import HEADS, EmbeddingHead, ProbeHead, build_head
from .heads.pooling import masked_mean
from .weighted_sum import WeightedSum, normalise_states

logger = logging.getLogger(__name__)

# Fields below that are options of heads, under the same names. A head is given those that are set.
HEAD_OPTIONS = (
    *("num_layers", "hidden_dim", "dropout", "embedding_dim"),
    *("cosine", "channels", "aggregated_channels", "width"),
)


@dataclass
class SslProbeConfig(FairseqDataclass):
    """The encoder, what is done to its hidden states, and the head."""

    encoder_path: Optional[str] = field(
        default=None,
        metadata={"help": "checkpoint of wav2vec2_summarymixing, wav2vec 2.0 or HuBERT; pre-trained or fine-tuned"},
    )
    random_encoder: bool = field(
        default=False, metadata={"help": "give the encoder random weights, to see what the head does by itself"}
    )
    freeze: bool = field(default=True, metadata={"help": "leave the encoder as it is; false: train it too"})
    encoder_dropout: float = field(
        default=0.0, metadata={"help": "dropout everywhere in an encoder that is trained (freeze=false)"}
    )
    layer_norm: bool = field(
        default=False, metadata={"help": "LayerNorm without parameters on each hidden state before the weighted sum"}
    )
    final_norm: bool = field(
        default=False,
        metadata={
            "help": "the encoder's own LayerNorm after its last layer, where it has one, on the last hidden state"
        },
    )
    head: str = field(default="mean_linear", metadata={"help": f"one of {', '.join(HEADS)}"})
    head_options: Dict[str, Any] = field(
        default_factory=dict, metadata={"help": "options of the head that have no field here: see its class"}
    )
    num_layers: Optional[int] = field(default=None, metadata={"help": "recurrent layers of the head"})
    hidden_dim: Optional[int] = field(
        default=None,
        metadata={"help": "width of the head's hidden layer: LSTM units in each direction, or linear_ctc's units"},
    )
    dropout: Optional[float] = field(default=None, metadata={"help": "dropout of the head"})
    embedding_dim: Optional[int] = field(default=None, metadata={"help": "width of a speaker embedding"})
    channels: Optional[int] = field(
        default=None, metadata={"help": "channels of the frame layers of ecapa and xvector"}
    )
    aggregated_channels: Optional[int] = field(
        default=None, metadata={"help": "channels of ECAPA-TDNN's layer on the outputs of all blocks"}
    )
    width: Optional[float] = field(default=None, metadata={"help": "ContextNet's alpha, a factor of its channels"})
    cosine: Optional[bool] = field(
        default=None, metadata={"help": "give cosines to class weights, for criterion aam_softmax"}
    )
    encoder_sha256: Optional[str] = field(
        default=None, metadata={"help": "of the file encoder_path when it was read; set by the task, not an option"}
    )
    # the encoder's specification; fairseq's audio tasks copy a field of this name into checkpoints
    w2v_args: Any = None


def head_options(cfg: SslProbeConfig) -> Dict[str, Any]:
    """Options of the head that are set, for ``build_head``."""
    return {**{name: cfg[name] for name in HEAD_OPTIONS if cfg[name] is not None}, **cfg.head_options}


@register_model("ssl_probe", dataclass=SslProbeConfig)
class SslProbe(BaseFairseqModel):
    """Encoder, weighted sum of its hidden states, head (MP3S, arXiv 2308.14456, Section 3).

    Each parameter's ``param_group`` is head, layer_weights or encoder, for fairseq's composite optimizer.

    Args:
        encoder: gives hidden states; head: one of ``heads``.
        freeze: run the encoder without gradients and in eval mode. Nothing is masked in either case.
        layer_norm: normalise each hidden state. Before that, an encoder built ``with_output`` normalises its last one.
    """

    trained_on: Tensor

    def __init__(self, encoder: Encoder, head: ProbeHead, freeze: bool = True, layer_norm: bool = False):
        super().__init__()
        self.encoder = encoder
        self.weighted_sum = WeightedSum(encoder.num_states)
        self.head = head
        self.freeze = freeze
        self.layer_norm = layer_norm
        self.gives_cosines = head.gives_cosines
        # digests of the encoder at the start of training and of the training data, set by the task
        self.register_buffer("trained_on", torch.zeros(2, 32, dtype=torch.uint8))
        if freeze:
            encoder.requires_grad_(False)
            encoder.eval()
        for module, group in ((encoder, "encoder"), (self.weighted_sum, "layer_weights"), (head, "head")):
            for parameter in module.parameters():
                parameter.param_group = group  # type: ignore[attr-defined]  # where fairseq looks for it

    @classmethod
    def build_model(cls, cfg: SslProbeConfig, task: Any = None) -> "SslProbe":
        """Build from fairseq's configuration; the encoder is that of ``cfg.w2v_args`` if a checkpoint has set it.

        Raises:
            InputError: for an encoder that cannot be read, a head that does not exist, or an option that it has not.
        """
        if cfg.head not in HEADS:
            raise InputError(f"model.head={cfg.head!r}: choose one of {', '.join(HEADS)}")
        dropout = 0.0 if cfg.freeze else cfg.encoder_dropout
        if cfg.w2v_args is not None:
            encoder = random_encoder(EncoderSpec.from_dict(cfg.w2v_args), dropout, cfg.final_norm)
        elif not cfg.encoder_path:
            raise InputError("model.encoder_path is not set: name the checkpoint to probe")
        else:
            encoder = load_encoder(cfg.encoder_path, dropout, cfg.final_norm)
            cfg.encoder_sha256 = content_sha256(Path(cfg.encoder_path))
            if cfg.random_encoder:
                encoder = random_encoder(encoder.spec, dropout, cfg.final_norm)
            cfg.w2v_args = encoder.spec.to_dict()
        logger.info("probing %s by %s", encoder.describe(), cfg.head)
        head = build_head(cfg.head, encoder.state_dim, len(task.target_dictionary), **head_options(cfg))
        model = cls(encoder, head, cfg.freeze, cfg.layer_norm)
        model.cfg = cfg
        return model

    def train(self, mode: bool = True) -> "SslProbe":
        """As torch's; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.freeze:
            self.encoder.eval()
        return self

    def encode(self, source: Tensor, padding_mask: Optional[Tensor]) -> Tuple[List[Tensor], Optional[Tensor]]:
        """Hidden states for the weighted sum.

        Args:
            source: (B, num_samples) waveform; padding_mask: (B, num_samples) bool, True = padding, or None.

        Returns:
            (B, T, D) for each state, and their padding mask (B, T) or None.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            # a waveform comes in float64 if fairseq would round it in float32
            states, frame_padding = self.encoder(source.float(), padding_mask)
            if self.encoder.final_norm is not None:
                states[-1] = self.encoder.final_norm(states[-1])
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
        """Scores of symbols for each frame, or of classes for each clip.

        Args:
            source: (B, num_samples) waveform at the encoder's rate, or None if ``states`` are given.
            padding_mask: (B, num_samples) bool, True = padding, or None; with ``states`` (B, T).
            states: (B, num_states, T, D), what ``encode`` has computed earlier.

        Returns:
            ``scores``, (B, T, symbols) or (B, classes); ``padding_mask``, (B, T) or None; and if the head has
            embeddings, ``embeddings``, (B, embedding_dim).

        Raises:
            InputError: for features that are not finite; ValueError: for a clip shorter than the head takes.
        """
        hidden_states: Sequence[Tensor]
        if states is not None:
            hidden_states, frame_padding = states.unbind(1), padding_mask
        else:
            hidden_states, frame_padding = self.encode(cast(Tensor, source), padding_mask)
        x = self.weighted_sum(hidden_states)
        # padding may hold anything
        valid = x if frame_padding is None else x.masked_fill(frame_padding[..., None], 0.0)
        if not is_finite(valid.detach()):
            raise InputError(
                "the weighted sum of the encoder's features is not finite: has its pre-training, or this run, diverged?"
            )
        if isinstance(self.head, EmbeddingHead):
            embeddings = self.head.embed(x, frame_padding)
            return {"scores": self.head.classifier(embeddings), "embeddings": embeddings, "padding_mask": frame_padding}
        return {"scores": self.head(x, frame_padding), "padding_mask": frame_padding}

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

    def summary_shares(self) -> List[Optional[float]]:
        """How much of the SummaryMixing cell is the summary, 0 to 1, by layer; None for a layer without
        ``summary_gate``. Empty where none has one."""
        mixers = [layer.mixer for layer in self.encoder.modules() if isinstance(layer, ConformerLayer)]
        shares = [mixer.summary_share() if isinstance(mixer, SummaryMixing) else None for mixer in mixers]
        return shares if any(share is not None for share in shares) else []


def pooled_states(states: Sequence[Tensor], frame_padding: Optional[Tensor]) -> List[Tensor]:
    """Mean over valid frames of each hidden state, (B, T, D) -> (B, 1, D).

    The weighted sum of the means is the mean of the weighted sum, which is all that a head with ``takes_mean`` uses.
    """
    return [masked_mean(state.float(), frame_padding)[:, None] for state in states]
