"""The targets of this plugin, and what the results on record reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from summarymixing_fairseq.benchmarks.report import find_row, markdown_table, memory_ratio, time_ratio

NOT_MEASURED = "not measured"
HOUR_SECONDS = 3600
GIB = 2**30

# From a result of `summarymixing benchmark --json` to a figure, or None if the result does not hold it.
Figure = Callable[[dict[str, Any]], "float | None"]


@dataclass(frozen=True)
class Target:
    """One figure that should not exceed its limit.

    Attributes:
        benchmark: whose results hold the figure.
        what, against: for the reader.
        cpu_limit, gpu_limit: None if there is no target.
        unit: behind the figure.
    """

    benchmark: str
    what: str
    against: str
    cpu_limit: float | None
    gpu_limit: float | None
    figure: Figure
    unit: str = ""


def _figure(contender: str, rival: str, size: float, ratio: Callable[..., float | None] = time_ratio) -> Figure:
    """A contender's time or memory divided by that of a rival."""

    def figure(result: dict[str, Any]) -> float | None:
        row, other = find_row(result, contender, size), find_row(result, rival, size)
        return None if row is None or other is None else ratio(row, other)

    return figure


def _deviation(result: dict[str, Any]) -> float | None:
    """Largest deviation, in percent, of the time per second of audio from its median over the lengths, 10 s to 1 h."""
    rows = [r for r in result["rows"] if r["contender"] == result["reference"] and r["seconds"]]
    if not {10, HOUR_SECONDS} <= {row["size"] for row in rows}:
        return None
    per_second = [median(row["seconds"]) / row["size"] for row in rows]
    return 100 * max(abs(value / median(per_second) - 1) for value in per_second)


def _hour_gib(result: dict[str, Any]) -> float | None:
    row = find_row(result, result["reference"], HOUR_SECONDS)
    return None if row is None else row["peak_bytes"] / GIB


def _fastest_rival(result: dict[str, Any]) -> float | None:
    names = {row["contender"] for row in result["rows"]} - {"ours"}
    ratios = [ratio for name in names if (ratio := _figure("ours", name, 60)(result)) is not None]
    return max(ratios, default=None)


SM = "summarymixing"
SDPA = "attention by SDPA"
PAPER = "the paper's setting"
STOCK = "fairseq's wav2vec2 conformer"
HOUR = "inference, `base`, 1 h in one pass: peak memory"
PER_SECOND = "inference, `base`, 10 s to 1 h: time per second of audio, deviation"
cell, objective, update = partial(Target, "cell"), partial(Target, "objective"), partial(Target, "update")

TARGETS = (
    cell("cell, D 768, batch 2, T 1000: time", "SDPA attention", 0.18, 0.50, _figure(SM, "mhsa", 1000)),
    cell("the same, T 4000", "SDPA attention", 0.05, 0.25, _figure(SM, "mhsa", 4000)),
    cell("the same, T 1000", "the cell written literally", 0.55, 0.60, _figure(SM, "literal cell", 1000)),
    objective("objective, 4 × 735 masked frames: time", "fairseq's", 1 / 80, 1 / 20, _figure("ours", "fairseq", 735)),
    objective("the same: memory", "fairseq's", 1 / 20, 1 / 20, _figure("ours", "fairseq", 735, memory_ratio)),
    update("one whole update, `base`, 4 × 15 s: time", SDPA, 0.72, 0.82, _figure(SM, "mhsa", 15)),
    update("the same: peak memory", SDPA, None, 0.77, _figure(SM, "mhsa", 15, memory_ratio)),
    update("the same: time", PAPER, 0.55, 0.55, _figure(SM, PAPER, 15)),
    update("the same: peak memory", PAPER, 0.60, 0.50, _figure(SM, PAPER, 15, memory_ratio)),
    update("the same: time", f"{STOCK}, its own front end", 0.35, 0.45, _figure(SM, STOCK, 15)),
    Target("length", PER_SECOND, "itself", 20, 20, _deviation, " %"),
    Target("length", HOUR, "", 6.0, 6.0, _hour_gib, " GiB"),
    Target("filterbank", "filterbank, 80 bins, 4 × 60 s: time", "the fastest rival", 0.8, None, _fastest_rival),
    Target(
        "data",
        "data, flac, 2 workers: time",
        "fairseq's dataset",
        1.0,
        None,
        _figure("speech_pretraining", "audio_pretraining", 120),
    ),
)


def _format(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit:
        return f"{value:.3g}{unit}"
    return f"1/{1 / value:.0f}" if value < 0.06 else f"{value:.2f}"


def _reached(target: Target, results: Sequence[dict[str, Any]], device: str, limit: float | None) -> tuple[str, str]:
    """What was reached on a kind of device, with its verdict, and the command. The newest result counts.

    Results of other recipes than ``base`` do not count.
    """
    for result in sorted(results, key=lambda result: result["date"], reverse=True):
        if result["benchmark"] != target.benchmark or result["machine"]["device"] != device:
            continue
        of_base = result["settings"].get("config", "base.yaml").endswith("base.yaml")
        value = target.figure(result) if of_base else None
        if value is not None:
            verdict = "" if limit is None else " ✓" if value <= limit else " **missed**"
            return _format(value, target.unit) + verdict, f"`{result['command']}`"
    return NOT_MEASURED, ""


def targets_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: every target, what was reached on CPU and GPU, and the command that measured it."""
    rows = []
    for target in TARGETS:
        cpu, cpu_command = _reached(target, results, "cpu", target.cpu_limit)
        gpu, gpu_command = _reached(target, results, "cuda", target.gpu_limit)
        limits = [_format(limit, target.unit) for limit in (target.cpu_limit, target.gpu_limit)]
        rows.append((target.what, target.against, limits[0], cpu, limits[1], gpu, cpu_command or gpu_command))
    head = ("what", "against", "CPU: at most", "CPU: reached", "GPU: at most", "GPU: reached", "command")
    return markdown_table(head, rows)
