"""The control without a mixer."""

from __future__ import annotations

import torch
from reference import padding_of

from summarymixing_fairseq.modules.mixing.none import NoMixer


def test_every_frame_as_it_came():
    x, mixer = torch.randn(2, 5, 8), NoMixer(8, dropout=0.5).train()
    assert torch.equal(mixer(x, padding_of([5, 3])), x)
    assert not list(mixer.parameters())
