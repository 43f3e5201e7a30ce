"""A trained encoder for Python users: ``load_model(path).extract(wave)``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np
import torch
from torch import Tensor

from ..data.batching import pad_batch
from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..system.errors import InputError
from .ours import build_encoder_model, read_checkpoint

Layer = Union[int, str]


class SpeechEncoder:
    """A frozen encoder. Frames are 20 ms apart.

    Attributes:
        num_layers: layers of the encoder; hidden state 0 is the encoder's input, n the output of layer n.
        embed_dim: width of a hidden state.
        min_samples: samples of the shortest clip that gives a frame.
    """

    def __init__(self, model: Wav2Vec2SummaryMixingModel, device: torch.device):
        self.model = model.to(device)
        self.device = device
        self.num_layers = len(model.encoder.layers)
        self.embed_dim = model.cfg.encoder_embed_dim
        self.min_samples = model.feature_extractor.min_samples()

    def check_layer(self, layer: Layer) -> None:
        """Raises InputError unless ``layer`` is 0 to ``num_layers``, "all" or "output"."""
        if layer not in ("all", "output") and not (isinstance(layer, int) and 0 <= layer <= self.num_layers):
            raise InputError(f"layer {layer!r}: choose 0 (encoder input) to {self.num_layers}, all, or output")

    @torch.no_grad()  # not inference_mode: what comes out may well train a probe
    def extract_batch(self, waveforms: Sequence[np.ndarray], layer: Layer = "output") -> list[Tensor]:
        """Hidden states of several clips.

        Args:
            waveforms: (num_samples,) float32 each, 16 kHz, full scale = 1.
            layer: 0 for the encoder's input, n for the output of layer n, "all" for these stacked, or "output" for the
                encoder's output, which is that of the last layer after the final LayerNorm.

        Returns:
            For each clip (T, D), or with "all" (num_layers + 1, T, D), float32 on the CPU.

        Raises:
            InputError: for a clip too short for one frame, or no such layer.
        """
        self.check_layer(layer)
        if not waveforms:
            return []
        for waveform in waveforms:
            if waveform.ndim != 1:
                raise InputError(f"a waveform of shape {tuple(waveform.shape)}: one dimension (mono) is needed")
            if len(waveform) < self.min_samples:
                raise InputError(
                    f"a clip of {len(waveform)} samples gives no frame: at least {self.min_samples} are needed"
                )
        source, padding_mask = pad_batch(waveforms, self.device)
        if layer in ("all", 0):
            last_layer = None if layer == "all" else 0
            hidden_states = self.model.extract_features(source, padding_mask, layer=last_layer)["hidden_states"]
            states = torch.stack(hidden_states, 1) if layer == "all" else hidden_states[0]
        else:  # (B, T, D), the layers above left out, and no other layer's states in memory
            last_layer = None if layer == "output" else layer - 1
            states = self.model.extract_features(source, padding_mask, layer=last_layer, keep_hidden_states=False)["x"]
        lengths = self.model.feature_extractor.output_lengths((~padding_mask).sum(1)).tolist()
        states = states.float().cpu()
        return [clip[..., :length, :].clone() for clip, length in zip(states, lengths)]

    def extract(self, wave: np.ndarray | Tensor, layer: Layer = "output") -> Tensor:
        """Hidden states of one clip: ``extract_batch`` of (num_samples,) float at 16 kHz -> (T, D)."""
        return self.extract_batch([np.asarray(wave, dtype=np.float32)], layer)[0]


def load_model(path: str | Path, device: str | torch.device = "cpu") -> SpeechEncoder:
    """Load the encoder of a checkpoint, pre-trained or fine-tuned.

    Raises:
        InputError: for a file that is missing, no checkpoint, or of another model.
    """
    return SpeechEncoder(build_encoder_model(read_checkpoint(Path(path))), torch.device(device))
