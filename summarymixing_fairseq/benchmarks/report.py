"""Results as tables and plots."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from ..system.figures import line_style, new_figure, save_figure
from ..system.tables import markdown_table

HEADER = ("contender", "size", "median", "min to max", "peak memory", "time", "memory")


def find_row(result: dict[str, Any], contender: str, size: float) -> dict[str, Any] | None:
    """The row of a contender at a size, or None if it has no samples."""
    for row in result["rows"]:
        if row["contender"] == contender and row["size"] == size and row["seconds"]:
            return row
    return None


def time_ratio(row: dict[str, Any], other: dict[str, Any]) -> float:
    """Median over the rounds of the time of ``row`` divided by the time of ``other``.

    A contender that failed has fewer rounds: only rounds of both count.
    """
    return median(a / b for a, b in zip(row["seconds"], other["seconds"]))


def memory_ratio(row: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Peak memory of ``row`` divided by that of ``other``; None if it was not measured."""
    return row["peak_bytes"] / other["peak_bytes"] if row["peak_bytes"] and other["peak_bytes"] else None


def format_seconds(seconds: float) -> str:
    """Three digits, in s or ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def table(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Cells of a result, the header first. The last two columns: the reference's figure divided by the contender's."""
    cells: list[tuple[str, ...]] = [HEADER]
    for row in result["rows"]:
        size = f"{row['size']:g} {result['size_unit']}"
        if not row["seconds"]:
            cells.append((row["contender"], size, "failed", "", "", "", ""))
            continue
        reference = find_row(result, result["reference"], row["size"])
        shares = ["", ""]
        if reference is not None and reference is not row:
            memory = memory_ratio(reference, row)
            shares = [f"{time_ratio(reference, row):.3f}", "" if memory is None else f"{memory:.3f}"]
        spread = f"{format_seconds(min(row['seconds']))} to {format_seconds(max(row['seconds']))}"
        peak = f"{row['peak_bytes'] / 2**20:,.0f} MiB" if row["peak_bytes"] else ""
        cells.append((row["contender"], size, format_seconds(median(row["seconds"])), spread, peak, *shares))
    return cells


def failures(result: dict[str, Any]) -> list[str]:
    """A line for each contender that has no figure, or fewer rounds than others, with the reason."""
    return [
        f"{row['contender']} at {row['size']:g} {result['size_unit']}: {row['failed']}"
        for row in result["rows"]
        if row["failed"]
    ]


def as_text(result: dict[str, Any]) -> str:
    """A result for the terminal: how it was measured, then the table in columns."""
    cells = table(result)
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADER))]
    lines = [f"# {line}" for line in provenance(result)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    lines.append(f"time, memory: those of {result['reference']} divided by the contender's")
    return "\n".join(lines + failures(result))


def as_markdown(result: dict[str, Any]) -> str:
    """The table in Markdown."""
    header, *rows = table(result)
    header = (*header[:5], f"time of {result['reference']} ÷", f"memory of {result['reference']} ÷")
    return markdown_table(header, rows)


def provenance(result: dict[str, Any]) -> list[str]:
    """Hardware, versions, settings, command and date, a line each."""
    machine = result["machine"]
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    num_rounds = max((len(row["seconds"]) for row in result["rows"]), default=0)
    rounds = f"{num_rounds} round{'' if num_rounds == 1 else 's'}"
    return [
        f"{machine['hardware']}; {machine['system']}",
        f"Python {machine['python']}, torch {machine['torch']}, {machine['fairseq']}",
        f"{settings}; {rounds}" if settings else rounds,
        f"{result['date']}: {result['command']}",
    ]


def plot(result: dict[str, Any], path: Path) -> None:
    """Plot time and memory: lines over the sizes, or bars if there is one size; with minimum and maximum.

    A line that ends before the others says why.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    rows = [row for row in result["rows"] if row["seconds"]]
    sizes = sorted({row["size"] for row in rows})
    names = list(dict.fromkeys(row["contender"] for row in rows))
    height = max(4.4, 0.25 * len(names)) if len(sizes) > 1 else 1.6 + 0.35 * len(names)
    figure = new_figure(12, height)
    axes = figure.subplots(1, 2)
    peaks = [(row["peak_bytes"] / 2**20, 0.0, 0.0) for row in rows]
    medians = [median(row["seconds"]) for row in rows]
    times = [(m, m - min(row["seconds"]), max(row["seconds"]) - m) for m, row in zip(medians, rows)]
    for axis, label, values in zip(axes, ("median time (s), minimum to maximum", "peak memory (MiB)"), (times, peaks)):
        for number, name in enumerate(names):
            of_name = [(row["size"], *value) for row, value in zip(rows, values) if row["contender"] == name]
            places, middle, *to_ends = zip(*of_name)
            whiskers = to_ends if any(map(any, to_ends)) else None
            if len(sizes) == 1:
                axis.barh([name], middle, xerr=whiskers, color="C0", capsize=3)
                continue
            axis.errorbar(places, middle, yerr=whiskers, capsize=3, label=name, **line_style(number))
            ended = [row for row in result["rows"] if row["contender"] == name and not row["seconds"]]
            if ended and places[-1] < sizes[-1]:
                text = f"{name}, {ended[0]['size']:g}: {ended[0]['failed'].partition(',')[0]}"
                point = places[-1], middle[-1]
                axis.annotate(text, point, (0, 8), textcoords="offset points", ha="right", fontsize="x-small")
        if len(sizes) > 1:
            axis.set(xscale="log", yscale="log", xlabel=result["size_unit"], ylabel=label)
            axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.grid(True, alpha=0.3)
        else:
            axis.invert_yaxis()
            axis.set(xlabel=label)
    if len(sizes) > 1:
        axes[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    hardware, software, settings, _ = provenance(result)
    at = f", {sizes[0]:g} {result['size_unit']}" if len(sizes) == 1 else ""
    title = f"{result['benchmark']}{at}, {result['date']}: {settings}\n{hardware}; {software}"
    figure.suptitle(title, fontsize="x-small", wrap=True)
    save_figure(figure, path)
