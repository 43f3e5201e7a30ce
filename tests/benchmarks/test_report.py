"""Ratios, tables and plots of results."""

from __future__ import annotations

import pytest

from summarymixing_fairseq.benchmarks import report


def result(*rows, **fields):
    defaults = {
        "benchmark": "cell",
        "date": "2026-01-02",
        "command": "summarymixing benchmark cell",
        "machine": {"hardware": "CPU", "device": "cpu", "system": "S", "python": "3", "torch": "2", "fairseq": "f 1"},
        "settings": {"batch": 2},
        "reference": "ours",
        "size_unit": "frames",
    }
    names = ("contender", "size", "seconds", "peak_bytes", "failed")
    return {**defaults, "rows": [dict(zip(names, row)) for row in rows], **fields}


OURS = ("ours", 10, [1.0, 2.0, 6.0], 2**20, None)
RIVAL = ("rival", 10, [4.0, 4.0, 8.0], 4 * 2**20, None)


def test_ratio_is_the_median_of_the_rounds_ratios():
    a, b = result(OURS, RIVAL)["rows"]
    assert report.time_ratio(a, b) == 0.5  # of 0.25, 0.5, 0.75; the ratio of the medians is 0.5 as well
    b["seconds"] = [4.0, 40.0, 8.0]
    assert report.time_ratio(a, b) == 0.25  # of 0.25, 0.05, 0.75; the ratio of the medians would be 0.25
    b["seconds"] = [10.0, 2.0, 8.0]
    assert report.time_ratio(a, b) == 0.75  # of 0.1, 1, 0.75; the ratio of the medians would be 0.25
    assert report.memory_ratio(a, b) == 0.25


def test_table():
    _, ours, rival, failed = report.table(result(OURS, RIVAL, ("slow", 10, [], 0, "more than 5 s")))
    assert ours == ("ours", "10 frames", "2 s", "1 s to 6 s", "1 MiB", "", "")
    assert rival == ("rival", "10 frames", "4 s", "4 s to 8 s", "4 MiB", "0.500", "0.250")
    assert failed[2] == "failed"


def test_failures_are_named():
    text = report.as_text(result(OURS, ("slow", 10, [], 0, "more than 5 s")))
    assert text.endswith("slow at 10 frames: more than 5 s")


def test_without_the_reference_there_are_no_ratios():
    assert report.table(result(RIVAL))[1][-2:] == ("", "")


@pytest.mark.parametrize("sizes", [[10], [10, 100]])
def test_plot_is_a_png(tmp_path, sizes):
    rows = [(name, size, [0.1, 0.2], 2**20, None) for name in ("ours", "rival") for size in sizes]
    path = tmp_path / "plot.png"
    report.plot(result(*rows, ("slow", 100, [], 0, "too slow")), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize("seconds, text", [(12.34, "12.3 s"), (0.0123, "12.3 ms"), (0.00000123, "0.00123 ms")])
def test_seconds(seconds, text):
    assert report.format_seconds(seconds) == text
