"""Configuration of wav2vec 2.0 with SummaryMixing for transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig


class SummaryMixingConfig(PretrainedConfig):
    """Sizes of a model.

    Args:
        mixers: name and options of each layer's mixer.
        normalize: whether each waveform is brought to mean 0 and variance 1 first.
        streaming: of a model that streams, what its training draws (``ChunkDraws``).
        inputs_to_logits_ratio: samples from one frame to the next.
        checkpoint: configuration of the training that the weights come from, for the way back.
    """

    model_type = "summarymixing"

    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        mixers: Sequence[Any] = (),
        conv_kernel_size: int = 31,
        num_mel_bins: int = 80,
        frontend_channels: int = 512,
        frontend_kernel_sizes: Sequence[int] = (3, 3),
        frontend_strides: Sequence[int] = (2, 1),
        final_norm_eps: float = 1e-5,
        normalize: bool = False,
        streaming: Sequence[Any] | None = None,
        positions: bool = True,
        hidden_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        feat_proj_dropout: float = 0.0,
        final_dropout: float = 0.0,
        layerdrop: float = 0.0,
        ctc_loss_reduction: str = "mean",
        ctc_zero_infinity: bool = True,
        vocab_size: int = 32,
        pad_token_id: int = 0,
        bos_token_id: int = 1,
        eos_token_id: int = 2,
        inputs_to_logits_ratio: int = 320,
        checkpoint: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.mixers = [list(mixer) for mixer in mixers]
        self.num_hidden_layers = len(self.mixers)
        self.conv_kernel_size = conv_kernel_size
        self.num_mel_bins = num_mel_bins
        self.frontend_channels = frontend_channels
        self.frontend_kernel_sizes = list(frontend_kernel_sizes)
        self.frontend_strides = list(frontend_strides)
        self.final_norm_eps = final_norm_eps
        self.normalize = normalize
        self.streaming = streaming
        self.positions = positions
        self.hidden_dropout = hidden_dropout
        self.attention_dropout = attention_dropout
        self.activation_dropout = activation_dropout
        self.feat_proj_dropout = feat_proj_dropout
        self.final_dropout = final_dropout
        self.layerdrop = layerdrop
        self.ctc_loss_reduction = ctc_loss_reduction
        self.ctc_zero_infinity = ctc_zero_infinity
        self.inputs_to_logits_ratio = inputs_to_logits_ratio
        self.checkpoint = checkpoint
        kwargs.pop("num_hidden_layers", None)  # said by the mixers
        super().__init__(pad_token_id=pad_token_id, bos_token_id=bos_token_id, eos_token_id=eos_token_id, **kwargs)
        self.vocab_size = vocab_size
