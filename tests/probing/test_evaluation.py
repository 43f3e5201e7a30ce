"""The metrics of an evaluation, of outputs that are given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from summarymixing_fairseq.probing.evaluation import evaluate_classes


def test_macro_f1_is_over_the_classes_that_occur(tmp_path):
    """Class b is predicted only, class d not at all: F1 of 0, and not counted."""
    (tmp_path / "test.emotion").write_text("a\na\nc\n")
    probe = SimpleNamespace(config={"task": {"labels": "emotion"}}, dictionary=SimpleNamespace(symbols="abcd"))
    evaluation = SimpleNamespace(
        **{"probe": probe, "data": tmp_path, "split": "test", "names": "xyz", "num_replicates": 9, "seed": 0},
        outputs=lambda name: np.eye(4)[:3],
        results=lambda metrics, counts: metrics,
    )
    metrics, _ = evaluate_classes(evaluation)
    assert metrics["macro_f1"].value == pytest.approx(100 * (2 / 3 + 0 + 1) / 3)
