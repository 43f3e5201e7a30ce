"""What every encoder offers, and what it takes to build one again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Union, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from ...data.audio import Audio, waveform_of
from ...data.reading import pad_batch
from ...modules.filterbank import padding_mask_from_lengths
from ...modules.normalise import normalise_waveform
from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ

Layer = Union[int, str]


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
            values = cast("Mapping[str, Any]", OmegaConf.to_container(values, resolve=True))
        types = {"kind": str, "config": dict, "normalize": bool, "sample_rate_hz": int, "fine_tuned": bool}
        if not isinstance(values, dict) or set(values) != set(types):
            raise InputError(f"an encoder's specification needs {', '.join(types)}, and nothing else")
        for name, expected in types.items():
            if not isinstance(values[name], expected):
                raise InputError(f"an encoder's specification: {name}={values[name]!r} is not of {expected.__name__}")
        return cls(**values)


def noise_settings(dropout: float) -> dict[str, Any]:
    """What fairseq's configurations and ours say of noise: one dropout everywhere, and no LayerDrop."""
    everywhere = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "dropout_input"), dropout)
    return {**everywhere, "encoder_layerdrop": 0.0, "checkpoint_activations": False}


class Encoder(nn.Module):
    """Speech encoder that gives the hidden states of all its layers, and never masks.

    State 0 is what enters the first layer, after positions (and, where layers end in a LayerNorm, after that which
    precedes them); state n is the output of layer n. A final LayerNorm after the last layer is applied to none: where
    a model has one (ours; ``layer_norm_first``), s3prl and transformers put it on the last state alone. An encoder that
    was built ``with_output`` has it as ``final_norm``: it makes the "output" of ``extract``, and probes may use it.

    Without that, every parameter bears on some state. Gradients flow in train and eval mode alike, the feature
    extractor's at full scale (``feature_grad_mult`` of a configuration is not used). To freeze:
    ``requires_grad_(False).eval()``.

    A subclass takes ``spec``, ``dropout`` and ``with_output``, and has a static method ``own_weights``, which gives the
    weights of a checkpoint by the names of its own parameters, those it has no use for left out.

    Attributes:
        spec: what it was built from.
        num_layers: layers; num_states: these and the encoder's input.
        state_dim: width of a state.
        sample_rate_hz: rate of the waveform; frame_rate_hz: frames a second.
        time_first: whether the modules of ``branches`` give (T, B, width).
    """

    time_first = False

    def __init__(self, spec: EncoderSpec):
        super().__init__()
        self.final_norm: nn.Module | None = None
        self.spec = spec
        self.num_layers: int = spec.config["encoder_layers"]
        self.num_states = self.num_layers + 1
        self.state_dim: int = spec.config["encoder_embed_dim"]
        self.sample_rate_hz = spec.sample_rate_hz

    @staticmethod
    def own_weights(weights: dict[str, Tensor], spec: EncoderSpec, with_output: bool) -> dict[str, Tensor]:
        """See the class."""
        raise NotImplementedError

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate_hz / (self.min_samples(2) - self.min_samples(1))

    def describe(self) -> str:
        """One line: model, mixer, size, and how far trained."""
        config = self.spec.config
        mixers = ", ".join(config.get("mixers") or [config.get("mixer", "")])
        mixer = f" ({mixers})" if mixers else ""
        stage = "fine-tuned" if self.spec.fine_tuned else "pre-trained"
        return f"{self.spec.kind}{mixer}, {config['encoder_layers']} layers of {config['encoder_embed_dim']}, {stage}"

    def weights_digest(self) -> bytes:
        """SHA-256 of the names and values of all weights: alike for a checkpoint and what was exported of it."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.detach().cpu().contiguous().numpy().data)
        return digest.digest()

    @property
    def latent_norm(self) -> nn.Module:
        """The LayerNorm whose output are the latents, (B, T, channels)."""
        raise NotImplementedError

    @property
    def layers(self) -> nn.ModuleList:
        """The layers."""
        raise NotImplementedError

    def branches(self) -> dict[str, nn.Module]:
        """Modules inside the layers by name, such as "2.mixer": their outputs are (B, T, width), (B, width) where all
        frames have the same, or (T, B, width) where ``time_first``; or a tuple that begins with that."""
        raise NotImplementedError

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames; 0 for a clip too short for one frame."""
        raise NotImplementedError

    def min_samples(self, num_frames: int = 1) -> int:
        """Samples of the shortest clip that gives ``num_frames`` frames, at least 1."""
        raise NotImplementedError

    def _states(
        self, source: Tensor, padding_mask: Tensor | None, frame_padding: Tensor | None, only: int | None
    ) -> list[Tensor]:
        """Hidden states of a batch that ``forward`` has made ready.

        Args:
            source: (B, longest) waveform, zero at padding.
            padding_mask: (B, longest) bool, True = padding, or None if all are of one length.
            frame_padding: (B, T) bool, True = padding, or None if all have T frames.
            only: see ``forward``: later layers need not be computed, nor other states kept.
        """
        raise NotImplementedError

    def forward(
        self, source: Tensor, padding_mask: Tensor | None = None, only: int | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Hidden states of a batch.

        Args:
            source: (B, num_samples) waveform, full scale = 1; padding may hold anything.
            padding_mask: (B, num_samples) bool, True = padding, at the end of a clip; or None.
            only: the one state that is wanted; None: all.

        Returns:
            ``num_states`` tensors (B, T, state_dim), or one, finite at padded frames too, T the frames of the longest
            clip; and (B, T) bool, True = padding, or None if no frame is padding.

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
        return self._states(source, padding_mask, frame_padding, only), frame_padding

    def check_layer(self, layer: Layer) -> None:
        """Raises InputError unless ``layer`` is 0 to ``num_layers``, "all" or "output"."""
        if layer not in ("all", "output") and not (isinstance(layer, int) and 0 <= layer <= self.num_layers):
            raise InputError(f"layer {layer!r}: choose 0 (encoder input) to {self.num_layers}, all, or output")

    @torch.no_grad()  # not inference_mode: what comes out may well train a probe
    def extract_batch(
        self, audio: Sequence[Audio], layer: Layer = "output", *, sample_rate_hz: int = SAMPLE_RATE_HZ
    ) -> list[Tensor]:
        """Hidden states of several clips.

        Args:
            audio: paths of files, or waveforms, (num_samples,) or (num_samples, channels), of floats with full scale 1,
                int16 or int32.
            layer: 0 for the encoder's input, n for the output of layer n, "all" for these stacked, or "output" for that
                of the last layer after the final LayerNorm, where the model has one.
            sample_rate_hz: of the waveforms, which are resampled to 16 kHz; a file knows its own.

        Returns:
            For each clip (T, D), or with "all" (num_states, T, D), float32 on the CPU.

        Raises:
            InputError: for a clip too short for one frame, a file that cannot be read, an array that is no audio
                (``as_waveform``), no such layer.
        """
        self.check_layer(layer)
        waveforms = [waveform_of(one, sample_rate_hz) for one in audio]
        if not waveforms:
            return []
        source, padding_mask = pad_batch(waveforms, next(self.parameters()).device)
        only = layer if isinstance(layer, int) else None if layer == "all" else self.num_layers
        hidden_states, frame_padding = self(source, padding_mask, only)
        num_frames = [None] * len(waveforms) if frame_padding is None else (~frame_padding).sum(1).tolist()
        states = torch.stack(hidden_states, 1) if layer == "all" else hidden_states[0]
        if layer == "output" and self.final_norm is not None:
            states = self.final_norm(states)
        states = states.float().cpu()
        return [clip[..., :length, :].clone() for clip, length in zip(states, num_frames)]

    def extract(self, audio: Audio, layer: Layer = "output", *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Tensor:
        """Hidden states of one clip, a file or a waveform: ``extract_batch`` of it -> (T, D)."""
        return self.extract_batch([audio], layer, sample_rate_hz=sample_rate_hz)[0]
