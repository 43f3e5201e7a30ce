"""One graph for any length: what torch.export writes down of a short clip holds for a long one, and for one frame."""

from __future__ import annotations

import pytest
import torch
from mixers import small_mixer
from reference import assert_near
from torch import nn
from torch.fx.experimental import _config as fx_config

from summarymixing_fairseq.modules.decay import decayed_mean
from summarymixing_fairseq.modules.feedforward import FRAMES_AT_A_TIME, FeedForward
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank

D = 8


class DecayedMean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return decayed_mean(x, None, 0.995)


MODULES = {
    "expdecay": DecayedMean,
    "ssd": lambda: small_mixer("ssd", D, 2, state_dim=4),
    "local": lambda: small_mixer("local", D, 2, window=8),
    "bigbird": lambda: small_mixer("bigbird", D, 2, window=4, global_blocks=1, random_blocks=1),
    "feed-forward": lambda: FeedForward(D, 2 * D, 0.0, 0.0),
    "filterbank": lambda: nn.Sequential(nn.Flatten(1), LogMelFilterbank(num_mel_bins=D)),
}


@pytest.mark.long
@torch.no_grad()
@pytest.mark.parametrize("name", MODULES)
def test_length_stays_open(name):
    module = MODULES[name]().eval()
    x = torch.randn(2, 100, D)
    with fx_config.patch(backed_size_oblivious=True):  # as in export.graph
        program = torch.export.export(module, (x,), dynamic_shapes=({1: torch.export.Dim.DYNAMIC},))
    program._guards_code = []
    for num_frames in (60, FRAMES_AT_A_TIME + 200):
        x = torch.randn(2, num_frames, D)
        assert_near(program.module()(x), module(x), 1e-5)
