"""Strength of the summary by plain loops, and what a hook changes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from summarymixing_fairseq.analysis.measures.branches import changed, of_another_clip, strength_of_summary, zero


def test_strength_of_summary_by_loops():
    f, s, combiner = torch.randn(6, 3), torch.randn(6, 4), torch.randn(5, 9)  # two columns of a third branch
    shares = []
    for frame in range(6):
        local = summary = 0.0
        for row in combiner.double():
            local += sum(row[i] * f[frame, i].double() for i in range(3)) ** 2
            summary += sum(row[3 + i] * s[frame, i].double() for i in range(4)) ** 2
        shares.append(float(summary**0.5 / (local**0.5 + summary**0.5)))
    assert abs(strength_of_summary(f, s, combiner) - np.mean(shares)) < 1e-9
    assert strength_of_summary(0 * f, s, combiner) == 1 and strength_of_summary(f, 0 * s, combiner) == 0


def test_a_change_ends_with_its_block():
    module, x = nn.Linear(2, 2), torch.randn(3, 2)
    before = module(x)
    with changed(module, zero):
        assert (module(x) == 0).all()
    with changed(module, of_another_clip):
        assert (module(x) == before[[2, 0, 1]]).all()
    assert (module(x) == before).all()
