"""Results of a study: a table with intervals over seeds and clips, and a plot."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from ..probing.metrics.bootstrap import UNDEFINED, Interval
from ..probing.metrics.trainings import interval_of_mean, interval_of_share, interval_over_seeds
from ..system.figures import line_style, literal, new_figure, save_figure
from ..system.tables import markdown_table
from ..training.watch.quality import signs_of_collapse
from .plan import Study

PHONES, RANK = "phones_", "rank_latents"


@dataclass(frozen=True)
class Row:
    """What a study found of an encoder.

    Attributes:
        seeds: of its results.
        phones: mean accuracy of a linear map to phones, by the place it reads, as far as it was measured.
        phones_range: lowest and highest accuracy at the best place, over the seeds.
        changes: of the same accuracy from the random start to the end, a number a seed, by place.
        against: difference of the best place's accuracy from the baseline's at the same place, a number for each seed
            that both have.
        ranks: effective rank of the latents at the end, as a share of its start, a number a seed.
        codebook_use: perplexity of the targets over the number of codes, a number a seed that has codebooks to learn.
        objective: share of the masked frames of the validation clips that the pre-training gets right, a number a seed.
        collapsed: how many seeds end with latents that hold less than at their start, of how many that were measured.
        valid_cer: error rate on the validation clips, of the length of fine-tuning that is best on them, mean of the
            seeds.
        cer: error rate on the test clips, of the fine-tuning or else of the first probe of recognition, with its 95 %
            interval; ratio: to the baseline's, with its own.
        chosen: lengths of fine-tuning that were best on the validation clips, a seed each.
        probes: what the probes reached, a number for each seed, by task, probe and metric; settings: of the probes, the
            names of those that were best on the validation clips, a seed each, by task and probe.
        shares: how much of each layer's SummaryMixing cell is the summary where it has a gate, 0 to 1: for each seed
            those of the layers, lowest first, by task and probe.
        updates_per_second, parameters, peak_mib: of pre-training, medians of the seeds that have them.
    """

    encoder: str
    seeds: tuple[int, ...]
    phones: Mapping[str, float]
    phones_range: Interval
    changes: Mapping[str, tuple[float, ...]]
    against: tuple[float, ...]
    ranks: tuple[float, ...]
    codebook_use: tuple[float, ...]
    objective: tuple[float, ...]
    collapsed: tuple[int, int]
    valid_cer: float | None
    cer: float | None
    cer_interval: Interval
    ratio: float | None
    ratio_interval: Interval
    chosen: tuple[int, ...]
    probes: Mapping[str, tuple[float, ...]]
    settings: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, tuple[Sequence[float], ...]]
    updates_per_second: float | None
    parameters: float | None
    peak_mib: float | None

    @property
    def best_phones(self) -> float | None:
        """Accuracy at the place where it is highest."""
        return max(self.phones.values(), default=None)


def scored(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Letters wrong and letters in all of each test clip, ``errors`` and ``totals``.

    They are of the fine-tuning, or else of the first probe of recognition; None where there is neither.
    """
    if "finetuning" in result:
        return result["finetuning"]["test"]
    return next((one["test"] for one in result.get("probing", ()) if "test" in one), None)


def build(study: Study, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each encoder that has a result, in the study's order."""
    of_encoder = {
        encoder.name: [result for result in results if result["encoder"] == encoder.name] for encoder in study.encoders
    }
    baseline = of_encoder.get(study.baseline or "", [])
    pretrained_as = {encoder.name: study.pretrained_as(encoder) for encoder in study.encoders}
    rows = []
    for name, these in of_encoder.items():
        if these:
            alike = pretrained_as[name] == pretrained_as.get(study.baseline or "")
            paired = alike and [one["seed"] for one in these] == [one["seed"] for one in baseline]
            rows.append(_row(name, these, [] if name == study.baseline else baseline, paired))
    return rows


def _row(name: str, results: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], paired: bool) -> Row:
    phones: dict[str, list[float]] = {}
    for result in results:
        for key, value in result["pretraining"]["valid"].items():
            if key.startswith(PHONES):
                phones.setdefault(key.removeprefix(PHONES), []).append(float(value))
    best = max(phones.values(), key=mean, default=[])
    measured = [one["pretraining"] for one in results if one["pretraining"]["start"] and one["pretraining"]["valid"]]
    changes = {}
    for place in phones:
        both = [(one["start"].get(PHONES + place), one["valid"].get(PHONES + place)) for one in measured]
        changes[place] = tuple(float(end) - float(start) for start, end in both if None not in (start, end))
    tuned = [result["finetuning"] for result in results if "finetuning" in result]
    tests, rivals = ([test for result in side if (test := scored(result))] for side in (results, baseline))
    ratio = _rate(tests) / of_rivals if tests and rivals and (of_rivals := _rate(rivals)) else None
    return Row(
        name,
        tuple(result["seed"] for result in results),
        {place: mean(values) for place, values in phones.items()},
        (min(best), max(best)) if len(best) > 1 else UNDEFINED,
        changes,
        _against(max(phones, key=lambda place: mean(phones[place]), default=""), results, baseline),
        tuple(
            float(one["valid"][RANK]) / float(one["start"][RANK])
            for one in measured
            if RANK in one["start"] and RANK in one["valid"]
        ),
        tuple(use for one in measured if (use := float(one["valid"].get("codebook_use", 0)))),
        tuple(
            float(one["pretraining"]["valid"]["accuracy"])
            for one in results
            if "accuracy" in one["pretraining"]["valid"]
        ),
        (sum(bool(signs_of_collapse(one["start"], one["valid"])) for one in measured), len(measured)),
        mean(min(one["valid_cer"] for one in cell["tried"]) for cell in tuned) if tuned else None,
        _rate(tests) if tests else None,
        _interval(tests, None),
        ratio,
        _interval(tests, rivals, paired) if ratio is not None else UNDEFINED,
        tuple(cell["chosen"] for cell in tuned),
        _probes(results),
        _by_probe(results, lambda one: one["chosen"] if len(one["tried"]) > 1 else None),
        _by_probe(results, lambda one: one["summary_shares"] or None),
        *(_median(results, key) for key in ("updates_per_second", "parameters", "peak_mib")),
    )


def _against(
    place: str, results: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> tuple[float, ...]:
    """Differences of a place's phone accuracy, seed by seed."""
    key = f"{PHONES}{place}"
    of_baseline = {one["seed"]: one["pretraining"]["valid"] for one in baseline}
    both = [(one["pretraining"]["valid"], of_baseline.get(one["seed"], {})) for one in results]
    return tuple(float(here[key]) - float(there[key]) for here, there in both if key in here and key in there)


def _probes(results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    values: dict[str, dict[int, float]] = {}  # by title and seed: a task may have several test splits
    for result in results:
        for one in result.get("probing", ()):
            probe = f"{one['task']} {one['probe']}"
            found = {f"{probe}, {one['split']}: {one['metric']} {one['unit']}".rstrip(): one["value"]}
            found[f"{probe}, valid: {one['valid_metric']}"] = one["valid"]
            for title, value in found.items():
                if value is None:  # not measured, or no number
                    continue
                values.setdefault(title, {})[result["seed"]] = value
    return {title: tuple(these.values()) for title, these in values.items()}


def _by_probe(
    results: Sequence[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], Any]
) -> dict[str, tuple[Any, ...]]:
    """What is wanted of each probe, for each seed that has it, by task and probe."""
    found: dict[str, dict[int, Any]] = {}  # a task may have several test splits
    for result in results:
        for one in result.get("probing", ()):
            if (value := wanted(one)) is not None:
                found.setdefault(f"{one['task']} {one['probe']}", {})[result["seed"]] = value
    return {probe: tuple(these.values()) for probe, these in found.items()}


def _median(results: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Of a number of pre-training, over the results that have it; those of earlier versions may not."""
    values = [value for result in results if (value := result["pretraining"].get(key)) is not None]
    return median(values) if values else None


def _rate(tests: Sequence[Mapping[str, Any]]) -> float:
    return sum(sum(test["errors"]) for test in tests) / sum(sum(test["totals"]) for test in tests)


def _interval(
    tests: Sequence[Mapping[str, Any]], rivals: Sequence[Mapping[str, Any]] | None, paired: bool = False
) -> Interval:
    """95 % interval of the error rate, or of its ratio to the rivals', over seeds and test clips."""
    if not tests:
        return UNDEFINED
    errors, of_rivals = ([test["errors"] for test in side] for side in (tests, rivals or []))
    return interval_over_seeds(errors, tests[0]["totals"], None if rivals is None else of_rivals, paired)


def _number(value: float | None, digits: int = 3, scale: float = 1.0) -> str:
    return "" if value is None or math.isnan(value) else f"{scale * value:.{digits}f}"


def _of_seeds(values: Sequence[float], digits: int) -> str:
    """The mean, and the lowest and the highest of several."""
    if len(values) < 2:
        return "".join(_number(value, digits) for value in values)
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _spread(interval: Interval, digits: int = 3, scale: float = 1.0) -> str:
    return "" if math.isnan(interval[0]) else " to ".join(_number(end, digits, scale) for end in interval)


# Title and content of each column; `_cells` puts those of phone accuracy and of the probes between them.
_BEFORE: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("encoder", lambda row: row.encoder),
    ("seeds", lambda row: str(len(row.seeds))),
)
_AFTER: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("best: range of seeds", lambda row: _spread(row.phones_range, 1, 100)),
    ("best less the baseline's (points)", lambda row: _mean_with_interval([100 * value for value in row.against])),
    ("masked frames right %", lambda row: _of_seeds([100 * value for value in row.objective], 1)),
    ("rank of latents / start", lambda row: _of_seeds(row.ranks, 2)),
    ("codebook use %", lambda row: _of_seeds([100 * value for value in row.codebook_use], 1)),
    ("collapsed (95 %)", lambda row: _share(*row.collapsed)),
    ("CER valid", lambda row: _number(row.valid_cer)),
    ("CER test", lambda row: _number(row.cer)),
    ("CER test: 95 %", lambda row: _spread(row.cer_interval)),
    ("to baseline", lambda row: _number(row.ratio, 2)),
    ("to baseline: 95 %", lambda row: _spread(row.ratio_interval, 2)),
    ("updates chosen", lambda row: " ".join(map(str, row.chosen))),
    ("updates/s", lambda row: _number(row.updates_per_second, 2)),
    ("M parameters", lambda row: _number(row.parameters, 2, 1e-6)),
    ("peak MiB", lambda row: _number(row.peak_mib, 0)),
)


def _mean_with_interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(_number(value, 1) for value in values)
    return f"{mean(values):.1f} ({_spread(interval_of_mean(values), 1)})"


def _share(hits: int, total: int) -> str:
    return f"{hits} of {total} ({_spread(interval_of_share(hits, total), 2)})" if total else ""


def _places(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(place for row in rows for place in row.phones))


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells; columns that are empty in all rows are left out."""
    names = _places(rows)
    places = [(f"phones % {place}", _phones(place)) for place in names]
    places += [(f"change of {place} (points)", _change(place)) for place in dict.fromkeys((*names[:1], *names[-1:]))]
    probes = [(title, _probe(title)) for title in dict.fromkeys(title for row in rows for title in row.probes)]
    probes += [(f"{one}: chosen", _setting(one)) for one in dict.fromkeys(one for row in rows for one in row.settings)]
    columns = [*_BEFORE, *places, *probes, *_AFTER]
    table = [[content(row) for _, content in columns] for row in rows]
    used = [number for number in range(len(columns)) if any(line[number] for line in table)]
    return [columns[number][0] for number in used], [[line[number] for number in used] for line in table]


def _phones(place: str) -> Callable[[Row], str]:
    return lambda row: _number(row.phones.get(place), 1, 100)


def _change(place: str) -> Callable[[Row], str]:
    return lambda row: _of_seeds([100 * value for value in row.changes.get(place, ())], 1)


def _probe(title: str) -> Callable[[Row], str]:
    return lambda row: _of_seeds(row.probes.get(title, ()), 2)


def _setting(probe: str) -> Callable[[Row], str]:
    return lambda row: " ".join(row.settings.get(probe, ()))


def _gates(rows: Sequence[Row]) -> list[tuple[str, str, list[tuple[float, ...]]]]:
    """Encoder, probe, and by layer the shares of all seeds. A frozen encoder has the same with every probe."""
    found = []
    for row in rows:
        of_probe = dict(row.shares)
        if len(of_probe) > 1 and all(shares == next(iter(of_probe.values())) for shares in of_probe.values()):
            of_probe = {"every probe": next(iter(of_probe.values()))}
        found += [(row.encoder, probe, list(zip(*shares))) for probe, shares in of_probe.items()]
    return found


def as_markdown(
    study: Study, rows: Sequence[Row], missing: Sequence[str], machines: Sequence[str], hours: float
) -> str:
    """The page of a study: its table, and what it is to be read with.

    Args:
        missing: names of cells without a result; machines: that computed the others; hours: of all pre-trainings.
    """
    lines = [f"# {study.title}", "", markdown_table(*_cells(rows)), ""]
    if gates := _gates(rows):
        numbers = range(max(len(layers) for *_, layers in gates))
        header = ["share of s", "probe", *(f"layer {number + 1}" for number in numbers)]
        shares = [[name, probe, *(_of_seeds(layer, 2) for layer in layers)] for name, probe, layers in gates]
        lines += [markdown_table(header, [row + [""] * (len(header) - len(row)) for row in shares]), ""]
    if any(row.cer is not None for row in rows):
        lines.append("CER: letters wrong on the test clips, greedy decoding, means of the seeds.")
        if study.finetuning is not None:
            lines[-1] += (
                " Of the lengths of fine-tuning that were tried, and of the checkpoints of each, the best on the "
                "validation clips is scored, for each seed. CER valid: the lowest of all validations, which is "
                "optimistic."
            )
        lines[-1] += (
            " Intervals: 95 % over seeds and clips, Student's t on the logarithm; those of one study share a baseline "
            "and are not corrected for their number."
        )
    if any(row.phones for row in rows):
        lines.append(
            "Phones: accuracy of a linear map from single frames to phones on synthesised speech of unseen voices, "
            "and its change from the random start, with the lowest and the highest seed. Collapsed: seeds that end "
            "with over half a point fewer phones told from the latents than at their random start, or an effective "
            "rank of the latents below a third of it. Less the baseline's: at the encoder's best place, paired by "
            "seed, with the 95 % interval of the mean (Student's t). Codebook use: perplexity of learned targets over "
            "the number of codes."
        )
    if any(row.probes for row in rows):
        lines.append(
            "Probes of MP3S on the test clips, and on the validation clips, which choose the checkpoint and, for each "
            "seed, among settings: means of the seeds, and in brackets the lowest and the highest."
        )
    if any(row.objective for row in rows):
        lines.append(
            "Masked frames right: of the validation clips, by the pre-training's own task. It compares encoders of one "
            "objective whose targets are fixed, as BEST-RQ's are. In brackets the lowest and the highest seed."
        )
    if any(row.peak_mib for row in rows):
        lines.append("Parameters and peak of resident memory: of pre-training.")
    if any(len(row.seeds) < 2 for row in rows):
        lines.append("An encoder with one seed has no interval.")
    if missing:
        lines.append(f"Not there: {', '.join(missing)}.")
    lines.append(f"By `summarymixing study run {study.name}.yaml` on: {'; '.join(machines)}.")
    lines.append(f"The pre-trainings took {hours:.1f} h in all.")
    return "\n".join(lines) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """The table as CSV, without the gates'."""
    text = io.StringIO()
    header, cells = _cells(rows)
    csv.writer(text, lineterminator="\n").writerows([header, *cells])
    return text.getvalue()


def plot(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Phones by the place that is read, error rates, and quality against time and against size, as a PNG.

    Quality is the error rate, or the best phone accuracy where no recogniser was trained. What nothing was measured of
    has no panel.

    Raises:
        InputError: if the file cannot be written, or matplotlib is not installed.
    """
    panels: list[Callable[[Any], None]] = []
    if _places(rows):
        panels.append(partial(_plot_phones, rows))
    if gates := _gates(rows):
        panels.append(partial(_plot_gates, gates))
    with_errors = [row for row in rows if row.cer is not None]
    if with_errors:
        panels.append(partial(_plot_errors, with_errors))
    size = next((size for size in _SIZES if any(size[1](row) for row in rows)), None)
    for label, cost in filter(None, (_TIME, size)):
        points = [
            _Point(row.encoder, x, y, row.cer_interval if with_errors else row.phones_range)
            for row in rows
            if (x := cost(row)) is not None and (y := row.cer if with_errors else row.best_phones) is not None
        ]
        if points:
            panels.append(partial(_plot_pareto, points, label, bool(with_errors)))
    if not panels:
        return
    columns = min(len(panels), 2)
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(6.2 * columns, lines * (1.6 + max(3.4, 0.32 * len(rows))))
    axes = figure.subplots(lines, columns, squeeze=False).flat
    for draw, axis in zip(panels, axes):
        draw(axis)
        axis.grid(alpha=0.3)
    for axis in list(figure.axes)[len(panels) :]:
        axis.remove()
    figure.suptitle(literal(study.title), fontsize=10, wrap=True)
    save_figure(figure, path)


class _Point(NamedTuple):
    name: str
    cost: float
    quality: float
    interval: Interval


_TIME: tuple[str, Callable[[Row], float | None]] = (
    "seconds an update of pre-training",
    lambda row: 1 / row.updates_per_second if row.updates_per_second else None,
)
# The first that was measured is plotted.
_SIZES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("peak memory of pre-training, MiB", lambda row: row.peak_mib),
    ("parameters, M", lambda row: row.parameters and row.parameters / 1e6),
)


def _plot_phones(rows: Sequence[Row], axis: Any) -> None:
    places = _places(rows)
    for number, row in enumerate(rows):
        values = [100 * row.phones.get(place, math.nan) for place in places]
        axis.plot(values, label=row.encoder, **line_style(number))
    axis.set(xticks=range(len(places)), ylabel="phone accuracy, %", title="linear map from frames to phones")
    axis.set_xticklabels(places, rotation=30, ha="right")
    axis.legend(fontsize=8)


def _plot_gates(gates: Sequence[tuple[str, str, list[tuple[float, ...]]]], axis: Any) -> None:
    for number, (encoder, probe, layers) in enumerate(gates):
        axis.plot(range(1, len(layers) + 1), list(map(mean, layers)), label=f"{encoder}, {probe}", **line_style(number))
    axis.set(xlabel="layer", ylabel="share of s, mean of the seeds", title="gates: above 0.5 more of the summary")
    axis.axhline(0.5, color="grey", linestyle="--", zorder=0)
    axis.legend(fontsize=7)


def _plot_errors(rows: Sequence[Row], axis: Any) -> None:
    for number, row in enumerate(rows):
        cer = row.cer or 0.0
        low, high = (cer if math.isnan(end) else end for end in row.cer_interval)
        whiskers = [[max(cer - low, 0)], [max(high - cer, 0)]]
        axis.errorbar(cer, number, xerr=whiskers, linestyle="none", capsize=4, **line_style(number))
    axis.set(yticks=range(len(rows)), xlabel="CER on test clips, 95 % over seeds and clips")
    axis.set_yticklabels([row.encoder for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(left=0)


def _plot_pareto(points: Sequence[_Point], label: str, errors: bool, axis: Any) -> None:
    """Quality against cost, and a line through those that no other is as cheap and better than."""
    scale = 1.0 if errors else 100.0
    for number, (name, cost, quality, interval) in enumerate(points):
        low, high = (quality if math.isnan(end) else end for end in interval)
        whiskers = [[scale * max(quality - low, 0)], [scale * max(high - quality, 0)]]
        axis.errorbar(cost, scale * quality, yerr=whiskers, linestyle="none", elinewidth=0.7, **line_style(number))
        axis.annotate(name, (cost, scale * quality), (4, 4), textcoords="offset points", fontsize=7)
    front = pareto_front([(point.cost, point.quality) for point in points], errors)
    axis.plot([cost for cost, _ in front], [scale * quality for _, quality in front], "--", color="grey", zorder=0)
    measure = "CER on test clips" if errors else "phone accuracy at the best place, %"
    axis.set(xlabel=label, ylabel=measure, title=f"{'lower' if errors else 'higher'} and further left is better")
    axis.margins(0.12)


def pareto_front(points: Sequence[tuple[float, float]], errors: bool) -> list[tuple[float, float]]:
    """Of points of (cost, quality) those that no other is as cheap and better than, by cost.

    Args:
        errors: whether less of the quality is better.
    """
    sign = 1 if errors else -1
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not front or sign * quality < sign * front[-1][1]:
            front.append((cost, quality))
    return front
