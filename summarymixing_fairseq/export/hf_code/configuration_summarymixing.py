"""Configuration of wav2vec 2.0 with SummaryMixing for transformers."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

# with what transformers builds where a folder does not say
FIELDS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "mixers": [],
    "conv_kernel_size": 31,
    "num_mel_bins": 80,
    "frontend_channels": 512,
    "frontend_kernel_sizes": [3, 3],
    "frontend_strides": [2, 1],
    "final_norm_eps": 1e-5,
    "normalize": False,
    "streaming": None,
    "positions": True,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "ctc_loss_reduction": "mean",
    "ctc_zero_infinity": True,
    "inputs_to_logits_ratio": 320,
    "checkpoint": None,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


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

    def __init__(self, **fields: Any):
        own = {name: fields.pop(name, default) for name, default in FIELDS.items()}
        fields.pop("num_hidden_layers", None)  # said by the mixers
        super().__init__(**fields)
        for name, value in own.items():
            setattr(self, name, value)
        self.num_hidden_layers = len(self.mixers)
