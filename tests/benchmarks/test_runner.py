"""Workers and rounds."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from zygote import shared_zygote

from summarymixing_fairseq.benchmarks import runner
from summarymixing_fairseq.benchmarks.benchmark import choose
from summarymixing_fairseq.benchmarks.suite import BENCHMARKS
from summarymixing_fairseq.modules.mixing import MIXERS
from summarymixing_fairseq.modules.mixing.attention import MultiHeadSelfAttention

TINY = {"batch": 1, "dim": 16, "heads": 2, "dropout": 0.1, "dtype": "float32"}


def run(contenders, sizes, repeats=2, limit_seconds=60.0):
    told: list[str] = []
    conditions = runner.Conditions("cell", TINY, "cpu", 1, limit_seconds)
    return runner.run(contenders, sizes, conditions, repeats, told.append), told


def test_samples_and_failures_of_real_workers():
    code = f"""if True:
        import dataclasses, json
        from summarymixing_fairseq.benchmarks import runner
        conditions = runner.Conditions("cell", {TINY!r}, "cpu", 1, 60.0)
        rows = runner.run(["no such mixer", "summarymixing"], [10], conditions, 2, lambda told: None)
        print(json.dumps(list(map(dataclasses.asdict, rows))))
    """
    done = shared_zygote().complete(["python", "-c", code])
    failed, timed = json.loads(done.stdout)
    assert "no such mixer" in failed["failed"] and not failed["seconds"]
    assert timed["failed"] is None and len(timed["seconds"]) == 2 and min(timed["seconds"]) > 0


def test_a_contender_beyond_the_limit_is_stopped():
    rows, _ = run(["summarymixing"], [10], limit_seconds=0.01)
    assert rows[0].failed == "more than 0.01 s"


def test_a_worker_that_dies_is_named(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    rows, _ = run(["summarymixing"], [10])
    assert rows[0].failed == "exit status 1"


class FakeWorker:
    """Takes 3 s a repetition. Attention takes more memory than is held, and "broken" fails."""

    started: list[str] = []

    def __init__(self, contender, size, conditions):
        if contender == "broken":
            raise runner.WorkerFailed("out of order")
        self.started.append(contender)
        self.peak_bytes = runner.HOLD_BYTES + (contender == "mhsa")

    def sample(self):
        return 3.0, self.peak_bytes

    def close(self):
        pass


@pytest.fixture
def fake_worker(monkeypatch):
    monkeypatch.setattr(runner, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "started", [])


def test_every_contender_every_size_every_round(fake_worker):
    rows, told = run(["summarymixing", "mhsa"], [20, 10])
    assert [(row.size, row.contender) for row in rows] == [(n, c) for n in (10, 20) for c in ("summarymixing", "mhsa")]
    assert all(row.seconds == [3.0, 3.0] and row.failed is None for row in rows)
    # in turn: a machine that slows down slows both
    assert [line.split(" at ")[0] for line in told] == ["summarymixing", "mhsa"] * 4


def test_a_contender_that_fails_is_not_tried_again_and_the_others_go_on(fake_worker):
    rows, told = run(["broken", "summarymixing"], [10, 20])
    assert [row.failed for row in rows] == ["out of order", None, "out of order at 10", None]
    assert [len(row.seconds) for row in rows] == [0, 2, 0, 2]
    assert sum(line.startswith("broken") for line in told) == 1


def test_what_would_take_too_long_is_not_begun(fake_worker):
    rows, told = run(["summarymixing"], [10, 100, 200], limit_seconds=20.0)
    assert [row.failed for row in rows] == [None] + ["not run: at least 30 s, from its time at 10"] * 2
    assert len(told) == 2


def test_a_large_contender_is_not_held(fake_worker):
    run(["summarymixing", "mhsa"], [10], repeats=3)
    assert sorted(FakeWorker.started) == ["mhsa"] * 3 + ["summarymixing"]


@pytest.mark.parametrize("name", ["cell", "update", "length"])
def test_a_mixer_added_later_appears_by_itself(name, monkeypatch):
    monkeypatch.setitem(MIXERS, "brand_new", MultiHeadSelfAttention)
    names = BENCHMARKS[name].contenders()
    assert names[0] == "summarymixing" and "brand_new" in names
    assert choose(["all"], BENCHMARKS[name].contenders()) == [names[0], *sorted(set(MIXERS) - {names[0]})]
    # unasked, what is measured does not grow with the mixers
    usual = choose(None, BENCHMARKS[name].contenders())
    assert usual == [other for other in names if other in usual] and "mhsa" in usual
    assert not any(other.startswith("brand_new") for other in usual)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_what_the_runner_needs(name):
    benchmark = BENCHMARKS[name]
    names = benchmark.contenders()
    assert benchmark.reference in names and len(names) == len(set(names)) > 1
    assert benchmark.environment.keys() <= set(names)
    assert all(getattr(benchmark, field.name) is not None for field in dataclasses.fields(benchmark))
