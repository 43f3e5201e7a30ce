"""What is said of the recorded studies beyond their tables."""

from __future__ import annotations

import json
import re
from statistics import mean

import pytest
from pipeline import ROOT, run


def test_a_ratio_of_recorded_encoders():
    """As docs/learning.md has it; the ratio is that of the letters in the results."""
    elsewhere = str(ROOT / "studies" / "objectives" / "random")
    said = run("python", "studies/ratio.py", "objectives/filterbank", elsewhere).stdout.strip()
    assert f"| contrastive, `filterbank` | {said} |" in (ROOT / "docs/learning.md").read_text()
    wrong = [
        mean(
            sum(json.loads(path.read_text())["finetuning"]["test"]["errors"])
            for path in (ROOT / "studies/objectives").glob(f"{name}-seed*.json")
        )
        for name in ("filterbank", "random")
    ]
    assert float(re.match(r"[\d.]+", said)[0]) == pytest.approx(wrong[0] / wrong[1], abs=0.005)


@pytest.mark.parametrize("rival", ["objectives/nothing", "collapse/latents"])
def test_what_has_no_fine_tuning(rival):
    done = run("python", "studies/ratio.py", "objectives/filterbank", rival, check=False)
    assert done.returncode == 1 and f"{rival}: no recorded recogniser" in done.stderr


def test_pairs_share_their_pretraining():
    done = run("python", "studies/ratio.py", "--paired", "layers_tuned/sm-all", "layers_tuned/rope-all", check=False)
    assert done.returncode == 1 and "--paired: these did not begin with the same pre-trainings" in done.stderr
