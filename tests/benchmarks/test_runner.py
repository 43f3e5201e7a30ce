"""Workers and rounds."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from summarymixing_fairseq.benchmarks import cell, length, runner, update
from summarymixing_fairseq.modules.mixing import MIXERS, MultiHeadSelfAttention

TINY = {"batch": 1, "dim": 16, "heads": 2, "dropout": 0.1, "dtype": "float32"}


def run(contenders, sizes, module=cell, repeats=2, limit_seconds=60.0):
    told: list[str] = []
    return runner.run(
        module, contenders, sizes, runner.Conditions(TINY, "cpu", 1, limit_seconds), repeats, told.append
    ), told


def test_every_contender_every_size_every_round():
    rows, told = run(["summarymixing", "mhsa"], [20, 10])
    assert [(row.size, row.contender, len(row.seconds), row.failed) for row in rows] == [
        (10, "summarymixing", 2, None),
        (10, "mhsa", 2, None),
        (20, "summarymixing", 2, None),
        (20, "mhsa", 2, None),
    ]
    assert all(seconds > 0 for row in rows for seconds in row.seconds)
    # in turn: a machine that slows down slows both
    assert [line.split(" at ")[0] for line in told[:4]] == ["summarymixing", "mhsa"] * 2


def test_a_contender_that_fails_stands_in_the_table_and_the_others_go_on():
    rows, _ = run(["no such mixer", "summarymixing"], [10, 20], repeats=1)
    assert "unknown" in rows[0].failed
    assert rows[2].failed == f"{rows[0].failed} at 10"  # not tried again at the larger size
    assert [len(row.seconds) for row in rows] == [0, 1, 0, 1]


def test_a_contender_beyond_the_limit_is_stopped():
    rows, _ = run(["summarymixing"], [10], limit_seconds=0.01)
    assert rows[0].failed == "more than 0.01 s"


def test_what_would_take_too_long_is_not_begun(monkeypatch):
    monkeypatch.setattr(runner.Worker, "__init__", lambda self, job, limit_seconds: None)
    monkeypatch.setattr(runner.Worker, "sample", lambda self: (3.0, 1))
    monkeypatch.setattr(runner.Worker, "close", lambda self: None)
    rows, told = run(["summarymixing"], [10, 100, 200], limit_seconds=20.0)
    assert [row.failed for row in rows] == [None] + ["not run: at least 30 s, from its time at 10"] * 2
    assert len(told) == 2


def test_a_large_contender_is_not_held(monkeypatch):
    started = []
    monkeypatch.setattr(runner.Worker, "__init__", lambda self, job, limit_seconds: started.append(job["contender"]))
    monkeypatch.setattr(runner.Worker, "sample", lambda self: (1.0, runner.HOLD_BYTES + (started[-1] == "mhsa")))
    monkeypatch.setattr(runner.Worker, "close", lambda self: None)
    run(["summarymixing"], [10], repeats=3)
    assert len(started) == 1
    run(["mhsa"], [10], repeats=3)
    assert len(started) == 1 + 3


def test_a_worker_that_is_killed_is_named(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    rows, _ = run(["summarymixing"], [10])
    assert rows[0].failed == "exit status 1"


@pytest.mark.parametrize("module", [cell, update, length])
def test_a_mixer_added_later_appears_by_itself(module: ModuleType, monkeypatch):
    monkeypatch.setitem(MIXERS, "brand_new", MultiHeadSelfAttention)
    assert "brand_new" in module.contenders({})
    assert module.contenders({})[0] == "summarymixing"
