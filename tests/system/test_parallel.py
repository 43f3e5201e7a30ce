"""Processes that work in parallel: how they start, and that none outlives its parent."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from processes import Started

# Two processes that do not finish their work. Each leaves a file once it is at work.
ENDLESS_PARENT = """
import os
import sys
import time
from pathlib import Path
from summarymixing_fairseq.system.parallel import parallel_iter

def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(parallel_iter(work, range(4), workers=2, description="waiting", items_per_worker=1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_when_their_parent_is_killed(tmp_path):
    parent = Started([sys.executable, "-c", ENDLESS_PARENT, str(tmp_path)])
    parent.wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    assert len(parent.children()) == 2
    assert parent.interrupt(signal.SIGKILL, group=False).num_left == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others spawn")
def test_processes_are_forked_where_this_one_has_a_single_thread(tmp_path):
    """Spawned ones import everything again, which takes longer than the scan of most corpora."""
    script = tmp_path / "script.py"
    script.write_text(
        "from summarymixing_fairseq.system.parallel import parallel_iter\n"
        "STARTED_BY = __name__\n"
        "def name(item):\n    return STARTED_BY\n"
        "if __name__ == '__main__':\n"
        "    for _ in range(2):\n"
        "        print(*set(parallel_iter(name, range(4), workers=2, description='', items_per_worker=1)))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert result.stdout == "__main__\n__main__\n", result.stderr
