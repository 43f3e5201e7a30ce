"""What every encoder of hidden states offers, and what it takes to build one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ...modules.filterbank import padding_mask_from_lengths
from ...system.errors import InputError

NORM_EPS = 1e-5  # torch's layer_norm, by which fairseq normalises a waveform


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder without its weights: plain containers, so that it fits any configuration and checkpoint.

    Attributes:
        kind: name of the model: wav2vec2_summarymixing, wav2vec2 or hubert.
        config: the fields that its modules are built from.
        normalize: whether each waveform is brought to mean 0 and variance 1 before the encoder.
        sample_rate_hz: rate of the waveform.
        fine_tuned: whether the weights come from a fine-tuned model.
    """

    kind: str
    config: dict[str, Any]
    normalize: bool
    sample_rate_hz: int
    fine_tuned: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, of which ``from_dict`` makes the same again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderSpec:
        """Out of ``to_dict``'s, or these in a configuration of OmegaConf's.

        Raises:
            InputError: for a field that is missing, unknown, or of another type.
        """
        if OmegaConf.is_config(values):
            values = OmegaConf.to_container(values, resolve=True)
        types = {"kind": str, "config": dict, "normalize": bool, "sample_rate_hz": int, "fine_tuned": bool}
        if not isinstance(values, dict) or set(values) != set(types):
            raise InputError(f"an encoder's specification needs {', '.join(types)}, and nothing else")
        for name, expected in types.items():
            if not isinstance(values[name], expected):
                raise InputError(f"an encoder's specification: {name}={values[name]!r} is not of {expected.__name__}")
        return cls(**values)

    def describe(self) -> str:
        """One line: model, mixer, size, and how far trained."""
        config = self.config
        mixer = f" ({config['mixer']})" if "mixer" in config else ""
        stage = "fine-tuned" if self.fine_tuned else "pre-trained"
        return f"{self.kind}{mixer}, {config['encoder_layers']} layers of {config['encoder_embed_dim']}, {stage}"


def normalise_waveform(source: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Each clip to mean 0 and variance 1 over its own valid samples, as fairseq's datasets do (``F.layer_norm``).

    Args:
        source: (B, num_samples), zero at padding; padding_mask: (B, num_samples) bool, True = padding, or None.

    Returns:
        (B, num_samples) float32, zero at padding.
    """
    source = source.float()
    if padding_mask is None:
        return nn.functional.layer_norm(source, source.shape[1:], eps=NORM_EPS)
    num_samples = (~padding_mask).sum(1, keepdim=True)
    mean = source.sum(1, keepdim=True) / num_samples
    centred = (source - mean).masked_fill(padding_mask, 0.0)
    variance = centred.square().sum(1, keepdim=True) / num_samples
    return centred * torch.rsqrt(variance + NORM_EPS)


class StateEncoder(nn.Module):
    """Speech encoder that gives the hidden states of all its layers, and never masks.

    State 0 is what enters the first layer, after positions (and, where layers end in a LayerNorm, after that which
    precedes them); state n is the output of layer n. A final LayerNorm after the last layer is applied to none: where
    a model has one (ours; ``layer_norm_first``), s3prl and transformers put it on the last state alone, which this
    leaves to the weighted sum's own normalisation, so that all states are of one kind.

    Every parameter bears on some state; gradients flow in train and eval mode alike, the feature extractor's at full
    scale (``feature_grad_mult`` of a configuration is not used). To freeze: ``requires_grad_(False).eval()``.

    Attributes:
        spec: what it was built from.
        num_states: layers + 1.
        state_dim: width of a state.
        sample_rate_hz: rate of the waveform; frame_rate_hz: frames a second.
    """

    def __init__(self, spec: EncoderSpec):
        super().__init__()
        self.spec = spec
        self.num_states: int = spec.config["encoder_layers"] + 1
        self.state_dim: int = spec.config["encoder_embed_dim"]
        self.sample_rate_hz = spec.sample_rate_hz

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate_hz / (self.min_samples(2) - self.min_samples(1))

    def describe(self) -> str:
        """One line: model, mixer, size, and how far trained."""
        return self.spec.describe()

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames; 0 for a clip too short for one frame."""
        raise NotImplementedError

    def min_samples(self, num_frames: int = 1) -> int:
        """Samples of the shortest clip that gives ``num_frames`` frames, at least 1."""
        raise NotImplementedError

    def _states(
        self, source: Tensor, num_samples: list[int], padding_mask: Tensor | None, frame_padding: Tensor | None
    ) -> list[Tensor]:
        """Hidden states of a batch that ``forward`` has made ready.

        Args:
            source: (B, longest) waveform, zero at padding; num_samples: valid samples of each clip.
            padding_mask: (B, longest) bool, True = padding, or None if all are of one length.
            frame_padding: (B, T) bool, True = padding, or None if all have T frames.
        """
        raise NotImplementedError

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """Hidden states of a batch.

        Args:
            source: (B, num_samples) waveform, full scale = 1; padding may hold anything.
            padding_mask: (B, num_samples) bool, True = padding, at the end of a clip; or None.

        Returns:
            ``num_states`` tensors (B, T, state_dim), finite at padded frames too, T the frames of the longest clip;
            and (B, T) bool, True = padding, or None if no frame is padding.

        Raises:
            InputError: for a clip too short for one frame.
        """
        num_samples = [source.size(1)] * source.size(0)
        if padding_mask is not None:
            num_samples = (~padding_mask).sum(1).tolist()
        shortest, longest = min(num_samples), max(num_samples)
        if shortest < self.min_samples():
            raise InputError(
                f"a clip of {shortest} samples gives no frame: {self.spec.kind} needs {self.min_samples()}; leave "
                "shorter clips out (task.min_sample_size, or --min-seconds when making the manifest)"
            )
        if padding_mask is not None:
            # a collater may pad beyond the longest clip, which would add frames of nothing
            source, padding_mask = source[:, :longest], padding_mask[:, :longest]
            padding_mask = None if shortest == longest else padding_mask
        if padding_mask is not None:
            source = source.masked_fill(padding_mask, 0.0)
        if self.spec.normalize:
            source = normalise_waveform(source, padding_mask)
        num_frames = self.output_lengths(torch.tensor(num_samples))
        frame_padding = None
        if num_frames.min() < num_frames.max():
            frame_padding = padding_mask_from_lengths(num_frames.to(source.device), int(num_frames.max()))
        return self._states(source, num_samples, padding_mask, frame_padding), frame_padding
