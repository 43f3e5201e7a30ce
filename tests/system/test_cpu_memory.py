"""Freed memory stays in the process, and the switch turns that off."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys

import pytest
import torch

from summarymixing_fairseq.system.cpu_memory import SWITCH, keep_freed_memory


def page_faults_of_a_clone(switch: str) -> tuple[bool, int]:
    """In a process of its own: what ``keep_freed_memory`` returns, and the page faults of three large clones."""
    os.environ[SWITCH] = switch
    x = torch.zeros(20_000_000)  # 80 MB, beyond what glibc keeps by itself
    taken = keep_freed_memory()
    for _ in range(30):  # until the heap has a hole of that size
        x.clone()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        x.clone()
    return taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("switch, kept", [("1", True), ("0", False)])
def test_large_blocks_are_not_faulted_in_again(monkeypatch, switch, kept):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken, faults = pool.apply(page_faults_of_a_clone, (switch,))
    assert taken == kept
    assert (faults < 1000) == kept
