"""Hidden states of our own encoder, with any mixer and objective (arXiv 2407.13377, section 3)."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import OmegaConf
from torch import Tensor, nn

from ...models.checks import validate
from ...models.config import Wav2Vec2SummaryMixingConfig
from ...models.config import num_parameters as num_parameters_of
from ...models.wav2vec2_summarymixing import OBJECTIVE_OF_OLD, Wav2Vec2SummaryMixingModel
from ..contents import over_defaults
from .interface import Encoder, EncoderSpec, noise_settings

KIND = "wav2vec2_summarymixing"
# what no hidden state depends on: the objective, and the mask
UNUSED_PREFIXES = ("objective.", *OBJECTIVE_OF_OLD, "mask_emb")
FINAL_NORM = "encoder.layer_norm."


def read_config(model_config: dict[str, Any]) -> dict[str, Any]:
    """All fields of our configuration, plain, out of a checkpoint's; refused by what refuses a configuration."""
    merged = over_defaults(Wav2Vec2SummaryMixingConfig(), model_config)
    return cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True, enum_to_str=True))


def num_parameters(config: dict[str, Any]) -> int:
    """Parameters of the model, roughly. Raises ValueError for a configuration that is not valid."""
    cfg = over_defaults(Wav2Vec2SummaryMixingConfig(), config)
    validate(cfg)
    return num_parameters_of(cfg)


class OurEncoder(Encoder):
    """Our model without what hidden states do not depend on.

    Args:
        dropout: in place of all its dropouts; LayerDrop, masks, checkpointing and compilation are off.
    """

    def __init__(self, spec: EncoderSpec, dropout: float = 0.0, with_output: bool = False):
        super().__init__(spec)
        overrides = {
            **noise_settings(dropout),
            "mask_prob": 0.0,
            "mask_channel_prob": 0.0,
            "feature_grad_mult": 1.0,
            "recompute": "none",
            "compile_layers": False,
        }
        cfg = over_defaults(Wav2Vec2SummaryMixingConfig(), {**spec.config, **overrides})
        self.model = Wav2Vec2SummaryMixingModel(cfg)
        self.model.remove_pretraining_modules()
        self.model.register_parameter("mask_emb", None)
        if with_output:
            self.final_norm = self.model.encoder.layer_norm
        self.model.encoder.register_module("layer_norm", None)

    @staticmethod
    def own_weights(weights: dict[str, Tensor], spec: EncoderSpec, with_output: bool) -> dict[str, Tensor]:
        """See ``Encoder``."""
        own = {}
        for name, value in weights.items():
            if name.startswith(FINAL_NORM):
                if with_output:
                    own[f"final_norm.{name[len(FINAL_NORM) :]}"] = value
            elif not name.startswith(UNUSED_PREFIXES):
                own[f"model.{name}"] = value
        return own

    @property
    def latent_norm(self) -> nn.Module:
        return self.model.feature_extractor.norm

    @property
    def layers(self) -> nn.ModuleList:
        return self.model.encoder.layers

    def branches(self) -> dict[str, nn.Module]:
        """ffn1, mixer, conv and ffn2 of each layer, and what its mixer names in ``branches``."""
        found: dict[str, nn.Module] = {}
        for number, layer in enumerate(self.layers, 1):
            modules: dict[str, Any] = {"ffn1": layer.ffn1, "mixer": layer.mixer, "conv": layer.conv, "ffn2": layer.ffn2}
            inside = getattr(layer.mixer, "branches", {})
            modules |= {name: getattr(layer.mixer, at) for name, at in inside.items() if hasattr(layer.mixer, at)}
            found |= {f"{number}.{name}": module for name, module in modules.items()}
        return found

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        return self.model.feature_extractor.output_lengths(num_samples)

    def min_samples(self, num_frames: int = 1) -> int:
        return self.model.feature_extractor.min_samples(num_frames)

    def _states(
        self, source: Tensor, padding_mask: Tensor | None, frame_padding: Tensor | None, only: int | None
    ) -> list[Tensor]:
        # with a layer named, the model leaves its final LayerNorm out and stops there
        if only:
            return [self.model.extract_features(source, padding_mask, layer=only - 1, keep_hidden_states=False)["x"]]
        last = self.num_layers - 1 if only is None else 0
        states = self.model.extract_features(source, padding_mask, layer=last)["hidden_states"]
        return states if only is None else states[:1]
