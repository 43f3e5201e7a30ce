"""What the plugin sets out to reach, and what the results on record say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from summarymixing_fairseq.benchmarks.report import find_row, memory_ratio, time_ratio

NOT_MEASURED = "not measured"
HOUR_SECONDS = 3600
GIB = 2**30


@dataclass(frozen=True)
class Target:
    """One figure that should not exceed its limit.

    Attributes:
        what, against: for the reader.
        benchmark: whose results hold the figure.
        cpu_limit, gpu_limit: None: no target there.
        figure: result -> figure, or None where the result does not hold it.
        unit: behind the figure.
    """

    what: str
    against: str
    benchmark: str
    cpu_limit: float | None
    gpu_limit: float | None
    figure: Callable[[dict[str, Any]], float | None]
    unit: str = ""


def _ratio(contender: str, rival: str, size: float, share: Callable) -> Callable[[dict[str, Any]], float | None]:
    def figure(result: dict[str, Any]) -> float | None:
        row, other = find_row(result, contender, size), find_row(result, rival, size)
        return None if row is None or other is None else share(row, other)

    return figure


def _of_base(figure: Callable[[dict[str, Any]], float | None]) -> Callable[[dict[str, Any]], float | None]:
    """The figure of a result on the recipe `base`, and of no other."""
    return lambda result: figure(result) if result["settings"]["config"].endswith("base.yaml") else None


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
    ours = find_row(result, "ours", 60)
    rivals = [r for r in result["rows"] if r["contender"] != "ours" and r["size"] == 60 and r["seconds"]]
    return None if ours is None or not rivals else max(time_ratio(ours, rival) for rival in rivals)


SM = "summarymixing"
PAPER = "the paper's setting"
STOCK = "fairseq's wav2vec2 conformer"
UPDATE = "one whole update, `base`, 4 × 15 s"

TARGETS = (
    Target(
        "cell, D 768, batch 2, T 1000: time", "SDPA attention", "cell", 0.18, 0.50, _ratio(SM, "mhsa", 1000, time_ratio)
    ),
    Target("the same, T 4000", "SDPA attention", "cell", 0.05, 0.25, _ratio(SM, "mhsa", 4000, time_ratio)),
    Target(
        "the same, T 1000",
        "the cell written literally",
        "cell",
        0.55,
        0.60,
        _ratio(SM, "literal cell", 1000, time_ratio),
    ),
    Target(
        "objective, 4 × 735 masked frames: time",
        "fairseq's",
        "objective",
        1 / 80,
        1 / 20,
        _ratio("ours", "fairseq", 735, time_ratio),
    ),
    Target("the same: memory", "fairseq's", "objective", 1 / 20, 1 / 20, _ratio("ours", "fairseq", 735, memory_ratio)),
    Target(f"{UPDATE}: time", "attention by SDPA", "update", 0.72, 0.82, _of_base(_ratio(SM, "mhsa", 15, time_ratio))),
    Target(
        "the same: peak memory",
        "attention by SDPA",
        "update",
        None,
        0.77,
        _of_base(_ratio(SM, "mhsa", 15, memory_ratio)),
    ),
    Target("the same: time", PAPER, "update", 0.55, 0.55, _of_base(_ratio(SM, PAPER, 15, time_ratio))),
    Target("the same: peak memory", PAPER, "update", 0.60, 0.50, _of_base(_ratio(SM, PAPER, 15, memory_ratio))),
    Target(
        "the same: time",
        f"{STOCK}, its own front end",
        "update",
        0.35,
        0.45,
        _of_base(_ratio(SM, STOCK, 15, time_ratio)),
    ),
    Target(
        "inference, `base`, 10 s to 1 h: time per second of audio, deviation",
        "itself",
        "length",
        20,
        20,
        _of_base(_deviation),
        " %",
    ),
    Target("inference, `base`, 1 h in one pass: peak memory", "", "length", 6.0, 6.0, _of_base(_hour_gib), " GiB"),
    Target("filterbank, 80 bins, 4 × 60 s: time", "the fastest rival", "filterbank", 0.8, None, _fastest_rival),
    Target(
        "data, flac, 2 workers: time",
        "fairseq's dataset",
        "data",
        1.0,
        None,
        _ratio("speech_pretraining", "audio_pretraining", 120, time_ratio),
    ),
)


def _format(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"1/{1 / value:.0f}" if value < 0.06 and not unit else f"{value:.3g}{unit}" if unit else f"{value:.2f}"


def _reached(target: Target, results: Sequence[dict[str, Any]], device: str, limit: float | None) -> tuple[str, str]:
    """What was reached on a kind of device, with its verdict, and the command; the newest result counts."""
    for result in sorted(results, key=lambda result: result["date"], reverse=True):
        if result["benchmark"] != target.benchmark or result["machine"]["device"] != device:
            continue
        value = target.figure(result)
        if value is not None:
            verdict = "" if limit is None else " ✓" if value <= limit else " **missed**"
            return _format(value, target.unit) + verdict, f"`{result['command']}`"
    return NOT_MEASURED, ""


def targets_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: every target, what was reached on CPU and GPU, and the command that says so."""
    lines = [
        "| what | against | CPU: at most | CPU: reached | GPU: at most | GPU: reached | command |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for target in TARGETS:
        cpu, cpu_command = _reached(target, results, "cpu", target.cpu_limit)
        gpu, gpu_command = _reached(target, results, "cuda", target.gpu_limit)
        limits = [_format(limit, target.unit) for limit in (target.cpu_limit, target.gpu_limit)]
        cells = (target.what, target.against, limits[0], cpu, limits[1], gpu, cpu_command or gpu_command)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
