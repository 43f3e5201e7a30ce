"""The control without a mixer."""

from __future__ import annotations

import torch
from mixers import small_mixer
from reference import padding_of


def test_every_frame_as_it_came():
    x, mixer = torch.randn(2, 5, 8), small_mixer("none", 8, dropout=0.5).train()
    assert torch.equal(mixer(x, padding_of([5, 3])), x)
    assert not list(mixer.parameters())
