"""Freed memory stays in the process, and the switch turns that off."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PAGE_FAULTS_OF_A_CLONE = """
import resource, torch
from summarymixing_fairseq.system.cpu_memory import keep_freed_memory
x = torch.zeros(20_000_000)  # 80 MB, beyond what glibc keeps by itself
taken = keep_freed_memory()
for _ in range(30):  # until the heap has a hole of that size
    x.clone()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    x.clone()
print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("switch, kept", [(None, True), ("0", False)])
def test_large_blocks_are_not_faulted_in_again(switch, kept):
    environment = {key: value for key, value in os.environ.items() if key != "SUMMARYMIXING_KEEP_FREED_MEMORY"}
    environment["THP_MEM_ALLOC_ENABLE"] = "0"
    if switch is not None:
        environment["SUMMARYMIXING_KEEP_FREED_MEMORY"] = switch
    done = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS_OF_A_CLONE], env=environment, capture_output=True, text=True, check=True
    )
    taken, faults = done.stdout.split()
    assert taken == str(kept)
    assert (int(faults) < 1000) == kept
