"""The page of results says what was reached, what was missed and what was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from targets import targets_table

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "benchmarks"
VERSIONS = ("system", "python", "torch", "fairseq")


def result(benchmark, rows, device="cpu", settings=None, date="2026-01-02"):
    names = ("contender", "size", "seconds", "peak_bytes")
    return {
        "benchmark": benchmark,
        "date": date,
        "command": f"summarymixing benchmark {benchmark}",
        "machine": {"hardware": f"a {device}", "device": device, **dict.fromkeys(VERSIONS, "")},
        "settings": settings or {},
        "reference": rows[0][0],
        "size_unit": "u",
        "rows": [{**dict(zip(names, row)), "failed": None} for row in rows],
    }


@pytest.fixture(scope="module")
def run(load_script) -> ModuleType:
    return load_script("benchmarks/run.py")


def cells(table, what):
    """Of the row of a target: against, at most, reached, command."""
    (line,) = [line for line in table.splitlines() if f"| {what}" in line]
    return [cell.strip() for cell in line.strip("|").split("|")][2:]


def test_reached_missed_and_not_measured():
    cell = [("summarymixing", 1000, [0.1], 1), ("mhsa", 1000, [1.0], 1), ("literal cell", 1000, [0.1], 1)]
    table = targets_table([result("cell", cell)])
    command = "`summarymixing benchmark cell`"
    assert cells(table, "cell, D 768, batch 2, T 1000") == ["attention by SDPA", "0.18", "0.10 ✓", command]
    assert cells(table, "the same, T 1000")[2] == "1.00 **missed**"
    assert cells(table, "the same, T 4000")[2] == "not measured"
    assert cells(table, "objective")[2] == "not measured"


@pytest.mark.parametrize(
    ("device", "dtype", "reached"),
    [("cuda", "bfloat16", "0.20 ✓"), ("cuda", "float32", None), ("cpu", "bfloat16", None)],
)
def test_a_target_is_of_a_device_and_of_settings(device, dtype, reached):
    rows = [("summarymixing", 4000, [0.2], 1), ("mhsa", 4000, [1.0], 1)]
    table = targets_table([result("cell", rows, device, {"dtype": dtype})])
    assert cells(table, "cell, D 768, batch 2, T 4000, bfloat16")[2] == (
        reached or "not measured; by a script 1.30, as a CUDA graph 0.47"
    )


def test_the_newest_result_counts():
    def of(seconds, date):
        return result("cell", [("summarymixing", 1000, [seconds], 1), ("mhsa", 1000, [1.0], 1)], date=date)

    assert (
        cells(targets_table([of(0.1, "2026-02-01"), of(0.9, "2026-01-01")]), "cell, D 768, batch 2, T 1000")[2]
        == "0.10 ✓"
    )


def test_a_small_recipe_says_nothing_of_base():
    rows = [("summarymixing", 15, [1.0], 1), ("mhsa", 15, [2.0], 1)]
    for recipe, expected in (("small.yaml", "not measured"), ("examples/base.yaml", "0.50 ✓")):
        table = targets_table([result("update", rows, settings={"config": recipe})])
        assert cells(table, "one whole update, `base`, 4")[2] == expected


def test_inference_needs_the_whole_range():
    rows = [("summarymixing", 10, [1.0], 1), ("summarymixing", 3600, [396.0], 5 * 2**30)]
    both = targets_table([result("length", rows, settings={"config": "base.yaml"})])
    assert cells(both, "inference, `base`, 10 s")[2] == "4.76 % ✓"
    assert "| inference, `base`, 1 h in one pass: peak memory |  | 6 GiB | 5 GiB ✓ |" in both
    short = targets_table([result("length", rows[:1], settings={"config": "base.yaml"})])
    assert cells(short, "inference, `base`, 10 s")[2] == "not measured"


def test_page_of_two_machines(run, tmp_path):
    for device in ("cpu", "cuda"):
        value = result("cell", [("summarymixing", 1000, [0.1], 1), ("mhsa", 1000, [1.0], 1)], device)
        folder = tmp_path / run.machine_folder(value["machine"])
        folder.mkdir()
        (folder / "cell.json").write_text(json.dumps(value))
    page = run.render(run.read_results(tmp_path), "What limits it.")
    assert page.index("## Targets") < page.index("What limits it.") < page.index("## a cpu") < page.index("## a cuda")
    assert page.count("| mhsa | 1000 u |") == 2


def test_the_committed_page_is_that_of_the_committed_results(run):
    notes = FOLDER / "NOTES.md"
    assert (FOLDER / "RESULTS.md").read_text() == run.render(run.read_results(run.RESULTS), notes.read_text())
