"""Hidden states of our own encoder, either mixer (arXiv 2407.13377, section 3)."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from ...models.config import Wav2Vec2SummaryMixingConfig, validate
from ...models.config import num_parameters as num_parameters_of
from ...models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..ours import MODEL_NAME, over_defaults
from .interface import EncoderSpec, StateEncoder

KIND = MODEL_NAME
# what no hidden state depends on: pre-training's heads, the mask, and the LayerNorm after the last layer
UNUSED_PREFIXES = ("quantizer.", "project_q.", "final_proj.", "mask_emb", "encoder.layer_norm.")


def read_config(model_config: dict[str, Any]) -> dict[str, Any]:
    """All fields of our configuration, plain, out of a checkpoint's; refused by what refuses a configuration."""
    merged = over_defaults(Wav2Vec2SummaryMixingConfig(), model_config)
    return OmegaConf.to_container(merged, resolve=True, enum_to_str=True)


def num_parameters(config: dict[str, Any]) -> int:
    """Parameters of the model, roughly. Raises ValueError for a configuration that is not valid."""
    cfg = over_defaults(Wav2Vec2SummaryMixingConfig(), config)
    validate(cfg)
    return num_parameters_of(cfg)


def encoder_weights(weights: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of our model by the names of ``OurStateEncoder``, those it has no use for left out."""
    return {f"model.{name}": value for name, value in weights.items() if not name.startswith(UNUSED_PREFIXES)}


class OurStateEncoder(StateEncoder):
    """Our model without what hidden states do not depend on.

    Args:
        dropout: in place of all its dropouts; LayerDrop, masks, checkpointing and compilation are off.
    """

    def __init__(self, spec: EncoderSpec, dropout: float = 0.0):
        super().__init__(spec)
        overrides = {
            "dropout": dropout,
            "attention_dropout": dropout,
            "activation_dropout": dropout,
            "dropout_input": dropout,
            "encoder_layerdrop": 0.0,
            "mask_prob": 0.0,
            "mask_channel_prob": 0.0,
            "feature_grad_mult": 1.0,
            "checkpoint_activations": False,
            "compile_layers": False,
        }
        cfg = over_defaults(Wav2Vec2SummaryMixingConfig(), {**spec.config, **overrides})
        self.model = Wav2Vec2SummaryMixingModel(cfg)
        self.model.remove_pretraining_modules()
        self.model.mask_emb = None
        self.model.encoder.layer_norm = None

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        return self.model.feature_extractor.output_lengths(num_samples)

    def min_samples(self, num_frames: int = 1) -> int:
        return self.model.feature_extractor.min_samples(num_frames)

    def _states(
        self, source: Tensor, num_samples: list[int], padding_mask: Tensor | None, frame_padding: Tensor | None
    ) -> list[Tensor]:
        # with the last layer named, the model leaves its final LayerNorm out
        return self.model.extract_features(source, padding_mask, layer=self.num_states - 2)["hidden_states"]
