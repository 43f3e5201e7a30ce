"""wav2vec 2.0 with SummaryMixing as an upstream of s3prl."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..hf_code.waveform_encoder import add_modules, encode


class UpstreamExpert(nn.Module):
    """The encoder of a file of weights.

    Args:
        ckpt: weights.pt, read without running code of its own; options: s3prl's, of no use here.
    """

    feature_extractor: Any  # see ``add_modules``

    def __init__(self, ckpt: str, **options: Any):
        super().__init__()
        state = torch.load(ckpt, map_location="cpu", weights_only=True)
        self.config = SimpleNamespace(**state["config"])
        add_modules(self, self.config)
        self.load_state_dict(state["model"])

    def get_downsample_rates(self, key: str = "") -> int:
        """Samples from one frame to the next, of all states."""
        return int(self.config.inputs_to_logits_ratio)

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Encode waveforms.

        Args:
            wavs: (num_samples,) at 16 kHz, full scale = 1, each. One that is too short for a frame is padded.

        Returns:
            ``hidden_states``: the encoder's input and each layer's output, (B, T, D) each; ``last_hidden_state``: after
            the last LayerNorm. T is as s3prl counts, a frame for each 320 samples begun: a clip's last one is repeated,
            as a frame hears 85 ms.
        """
        shortest, shift = self.feature_extractor.min_samples(), self.get_downsample_rates()
        num_samples = torch.tensor([max(len(wav), shortest) for wav in wavs], device=wavs[0].device)
        source = pad_sequence([*wavs, wavs[0].new_zeros(shortest)], batch_first=True)[:-1]
        output, states = encode(self, source, num_samples, self.config.normalize, keep_hidden_states=True)
        expected = -(-max(map(len, wavs)) // shift)
        last = self.feature_extractor.output_lengths(num_samples) - 1
        frames = torch.arange(expected, device=last.device).minimum(last[:, None])  # (B, T)
        clips = torch.arange(len(wavs), device=last.device)[:, None]
        return {
            "hidden_states": [state[clips, frames] for state in states],
            "last_hidden_state": output[clips, frames],
        }
