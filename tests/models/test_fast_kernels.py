"""The switch of the quick CPU paths."""

from __future__ import annotations

import pytest
import torch
from reference import assert_near

from summarymixing_fairseq.modules.feedforward import FeedForward
from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv
from summarymixing_fairseq.modules.kernels.dropout import Dropout


@pytest.mark.parametrize("fast", [True, False])
def test_fast_kernels_are_one_switch(tiny_model, fast):
    kinds = (Dropout, DepthwiseConv, FeedForward)
    switches = [m.fast for m in tiny_model(fast_kernels=fast).modules() if isinstance(m, kinds)]
    assert len(switches) > 10
    assert set(switches) == {fast}


def test_fast_kernels_change_no_output(tiny_model):
    fast, slow = tiny_model(), tiny_model(fast_kernels=False)
    slow.load_state_dict(fast.state_dict())
    source = torch.randn(2, 16_000)
    assert_near(
        fast(source, mask=False, features_only=True)["x"], slow(source, mask=False, features_only=True)["x"], 1e-5
    )
