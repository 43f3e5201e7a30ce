"""The table: pooling, the best of a row, cells without figures, and the folders of folds."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from summarymixing_fairseq.probing.mp3s import paper
from summarymixing_fairseq.probing.mp3s.encoders import Encoder
from summarymixing_fairseq.probing.mp3s.table import _best, as_markdown, build, pool_accuracies, write
from summarymixing_fairseq.probing.mp3s.tasks import TASKS, find_data
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Metric, Results
from summarymixing_fairseq.system.errors import InputError

PROVENANCE = {
    "machine": {"hardware": "an abacus", "system": "wood"},
    "command": "summarymixing mp3s",
    "seed": 1,
    "date": "2026-11-23",
    "with_paper": True,
}


def fold(accuracy: float, clips: int) -> Results:
    metric = Metric(accuracy, math.nan, math.nan, "%")
    source, data = EncoderSource("e", "", "", ""), EvaluationData("", "test", {"clips": clips})
    return Results("probe_classification", "h", source, "c.pt", {}, data, 1, {"accuracy": metric}, [1.0], {})


def test_pooling_weighs_folds_by_their_clips():
    value, low, high = pool_accuracies([fold(100 * 2 / 3, 3), fold(10.0, 100), fold(0.0, 7)])
    assert value == pytest.approx(100 * 12 / 110)
    # the interval must be as wide as the standard deviation of a binomial says
    deviation = 100 * np.sqrt(12 / 110 * 98 / 110 / 110)
    assert low == pytest.approx(value - 1.96 * deviation, abs=1.0)
    assert high == pytest.approx(value + 1.96 * deviation, abs=1.0)


@pytest.mark.parametrize("accuracy, clips", [(50.0, 3), (math.nan, 4), (50.0, 0)])
def test_a_fold_of_no_whole_number_of_clips(accuracy, clips):
    with pytest.raises(InputError, match="is of no whole number of its"):
        pool_accuracies([fold(accuracy, clips), fold(50.0, 2)])


def test_the_best_of_a_row():
    def best(higher: bool, **values: float | None) -> list[str]:
        return _best({name: value and {"value": value} for name, value in values.items()}, higher)

    assert best(False, a=3.0, b=2.0, c=None) == ["b"]
    assert best(True, a=3.0, b=2.0, c=None) == ["a"]
    assert best(True, a=3.001, b=3.004) == ["a", "b"]  # as they are shown
    assert best(True, a=3.0, b=None) == []
    assert _best({"a": {"value": None}, "b": {"value": 1.0}, "c": {"value": 2.0}}, True) == ["c"]


def test_cells_of_every_kind(tmp_path):
    encoders = [Encoder(name, tmp_path / name, "abc") for name in ("A", "B")]
    table = build([], encoders, (), ["slurp is not there"], PROVENANCE)

    def cell(value, low, high):
        return {"value": value, "low": low, "high": high, "clips": 1234, "results": ["r"]}

    row = {
        "task": "slurp",
        "title": "intent",
        "of_mp3s": True,
        "probe": 1,
        "head": "",
        "metric_title": "accuracy",
        "higher_is_better": True,
        "paper": [],
        "best": ["A"],
    }
    table["rows"] = [
        {**row, "cells": {"A": cell(50.0, 40.0, 60.0), "B": cell(4.0, None, None)}},
        {**row, "cells": {"A": None, "B": cell(None, None, None)}},
    ]
    write(table, tmp_path)
    assert json.loads((tmp_path / "mp3s.json").read_text()) == table
    text = (tmp_path / "mp3s.md").read_text()
    assert text == as_markdown(table)
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:6])
    assert header == ["task", "probe", "metric", "clips", "A", "B"]
    assert rows == [
        ["intent", "1", "accuracy % ↑", "1,234", "**50.00** [40.00, 60.00]", "4.00"],
        ["intent", "1", "accuracy % ↑", "1,234", "", "undefined"],
    ]
    assert "- Machine: an abacus; wood." in text and "- Not found: slurp is not there" in text
    assert "paper" not in text


def test_reported_figures():
    """Of SLURP by the BiLSTM, which is probe 2; of Welsh by the BiLSTM, which is probe 1."""
    assert {key: list(figures.values()) for key, figures in paper.FIGURES.items()} == {
        ("slurp", 2): [80.5, 78.1, 77.7, 79.0],
        ("commonvoice_cy", 1): [48.3, 50.8, 54.5, 45.4],
    }


def test_folds_in_their_order(tmp_path):
    task = next(task for task in TASKS if task.has_folds)
    for number in (1, 2, 10):
        folder = tmp_path / task.name / f"fold{number}"
        folder.mkdir(parents=True)
        for name in task.needed_files():
            (folder / name).touch()
    assert [name for name, _ in find_data(task, tmp_path).folders] == ["fold1", "fold2", "fold10"]
    (tmp_path / task.name / "fold2" / "test.emotion").unlink()
    found = find_data(task, tmp_path)
    assert (
        not found.folders and "fold2/test.emotion is not there: make it by summarymixing manifest ie" in found.problem
    )
