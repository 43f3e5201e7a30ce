"""The targets of this plugin, and what the results on record reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from summarymixing_fairseq.benchmarks.report import find_row, memory_ratio, time_ratio
from summarymixing_fairseq.system.tables import markdown_table

NOT_MEASURED = "not measured"
HOUR_SECONDS = 3600
GIB = 2**30

# From a result of `summarymixing benchmark --json` to a figure, or None if the result does not hold it.
Figure = Callable[[dict[str, Any]], "float | None"]


@dataclass(frozen=True)
class Target:
    """One figure that should not exceed its limit on a kind of device.

    Attributes:
        benchmark: whose results hold the figure; device: "cpu" or "cuda".
        what, against: for the reader.
        settings: of the benchmark, which a result must have.
        unit: behind the figure.
        noted: what a script, and no `summarymixing benchmark`, has shown: see NOTES.md.
    """

    benchmark: str
    device: str
    what: str
    against: str
    limit: float
    figure: Figure
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""
    noted: str = ""


def _figure(contender: str, rival: str, size: float, ratio: Callable[..., float | None] = time_ratio) -> Figure:
    """A contender's time or memory divided by that of a rival."""

    def figure(result: dict[str, Any]) -> float | None:
        row, other = find_row(result, contender, size), find_row(result, rival, size)
        return None if row is None or other is None else ratio(row, other)

    return figure


def _deviation(first: float, result: dict[str, Any]) -> float | None:
    """Largest deviation, in percent, of the time per second of audio from its median over the lengths, to 1 h."""
    rows = [r for r in result["rows"] if r["contender"] == result["reference"] and r["seconds"] and r["size"] >= first]
    if not {first, HOUR_SECONDS} <= {row["size"] for row in rows}:
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


def _nothing(result: dict[str, Any]) -> None:
    """Of targets that no benchmark measures."""


SM = "summarymixing"
SDPA = "attention by SDPA"
PAPER = "the paper's setting"
STOCK = "fairseq's wav2vec2 conformer"
HOUR = "inference, `base`, 1 h in one pass: peak memory"
PER_SECOND = "inference, `base`, 10 s to 1 h: time per second of audio, deviation"
BF16 = {"dtype": "bfloat16"}
LONG = {"clips": 12, "precision": "amp"}
SHORT = {"clips": 24, "precision": "amp", "recompute": "none"}
CHEAP = {**SHORT, "recompute": "cheap"}
cell, update = partial(Target, "cell"), partial(Target, "update")
objective, length = partial(Target, "objective"), partial(Target, "length")
memory_of = partial(_figure, ratio=memory_ratio)

TARGETS = (
    cell("cpu", "cell, D 768, batch 2, T 1000: time", SDPA, 0.18, _figure(SM, "mhsa", 1000)),
    cell("cpu", "the same, T 4000", SDPA, 0.05, _figure(SM, "mhsa", 4000)),
    cell("cpu", "the same, T 1000", "the cell written literally", 0.55, _figure(SM, "literal cell", 1000)),
    cell(
        "cuda",
        "cell, D 768, batch 2, T 4000, bfloat16: time",
        SDPA,
        0.35,
        _figure(SM, "mhsa", 4000),
        BF16,
        noted="by a script 1.30, as a CUDA graph 0.47",
    ),
    objective("cpu", "objective, 4 × 735 masked frames: time", "fairseq's", 1 / 80, _figure("ours", "fairseq", 735)),
    objective("cpu", "the same: memory", "fairseq's", 1 / 20, memory_of("ours", "fairseq", 735)),
    objective("cuda", "the same: time", "fairseq's", 1 / 20, _figure("ours", "fairseq", 735)),
    objective("cuda", "the same: memory", "fairseq's", 1 / 20, memory_of("ours", "fairseq", 735)),
    update("cpu", "one whole update, `base`, 4 × 15 s: time", SDPA, 0.72, _figure(SM, "mhsa", 15)),
    update("cpu", "the same: time", PAPER, 0.55, _figure(SM, PAPER, 15)),
    update("cpu", "the same: peak memory", PAPER, 0.60, memory_of(SM, PAPER, 15)),
    update("cpu", "the same: time", f"{STOCK}, its own front end", 0.35, _figure(SM, STOCK, 15)),
    update(
        "cuda",
        "one whole update, `base`, 12 × 30 s, amp: time",
        SDPA,
        0.85,
        _figure(SM, "mhsa", 30),
        LONG,
        noted="by scripts 0.99 and 1.48",
    ),
    update("cuda", "the same: time", PAPER, 0.45, _figure(SM, PAPER, 30), LONG, noted="by a script 0.50"),
    update("cuda", "the same: peak memory", PAPER, 0.40, memory_of(SM, PAPER, 30), LONG, noted="by a script 0.40"),
    update("cuda", "the same, 24 × 15 s: time", SDPA, 0.92, _figure(SM, "mhsa", 15), SHORT),
    update(
        "cuda",
        "the same, cheap parts recomputed: memory",
        SDPA,
        0.85,
        memory_of(SM, "mhsa", 15),
        CHEAP,
        noted="by a script 0.88",
    ),
    # of two results, or of a profile, which no benchmark has
    update("cuda", "the same: memory", f"{SDPA}, nothing recomputed", 0.45, _nothing, noted="by a script 0.48"),
    update(
        "cuda",
        "the same: share of the time in which the GPU idles",
        "",
        5,
        _nothing,
        {},
        " %",
        "by a script 25 to 33 %",
    ),
    length("cpu", PER_SECOND, "itself", 20, partial(_deviation, 10), {}, " %"),
    length(
        "cuda",
        PER_SECOND.replace("10 s", "60 s"),
        "itself",
        10,
        partial(_deviation, 60),
        {},
        " %",
        "by a script within 10 % from 5 minutes on",
    ),
    length("cpu", HOUR, "", 6.0, _hour_gib, {}, " GiB"),
    length("cuda", HOUR, "", 3.5, _hour_gib, {}, " GiB", "by a script 2.78 GiB"),
    Target("filterbank", "cpu", "filterbank, 80 bins, 4 × 60 s: time", "the fastest rival", 0.8, _fastest_rival),
    Target(
        "data",
        "cpu",
        "data, flac, 2 workers: time",
        "fairseq's dataset",
        1.0,
        _figure("speech_pretraining", "audio_pretraining", 120),
    ),
)


def _format(value: float, unit: str) -> str:
    if unit:
        return f"{value:.3g}{unit}"
    return f"1/{1 / value:.3g}" if value < 0.06 else f"{value:.2f}"


def _reached(target: Target, results: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """What was reached, with its verdict, and the command. The newest result counts.

    Results of other recipes than ``base`` do not count.
    """
    for result in sorted(results, key=lambda result: result["date"], reverse=True):
        settings = result["settings"]
        fits = (result["benchmark"], result["machine"]["device"]) == (target.benchmark, target.device)
        if not fits or any(settings.get(name) != value for name, value in target.settings.items()):
            continue
        of_base = settings.get("config", "base.yaml").endswith("base.yaml")
        value = target.figure(result) if of_base else None
        if value is not None:
            verdict = " ✓" if value <= target.limit else " **missed**"
            return _format(value, target.unit) + verdict, f"`{result['command']}`"
    return f"{NOT_MEASURED}; {target.noted}" if target.noted else NOT_MEASURED, ""


def targets_table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: every target, what was reached, and the command that measured it."""
    rows = [
        (
            "GPU" if target.device == "cuda" else "CPU",
            target.what,
            target.against,
            _format(target.limit, target.unit),
            *_reached(target, results),
        )
        for target in TARGETS
    ]
    return markdown_table(("on", "what", "against", "at most", "reached", "command"), rows)
