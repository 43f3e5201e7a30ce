"""The results of a study as a page and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from statistics import mean

from ..probing.metrics.bootstrap import Interval
from ..probing.metrics.trainings import interval_of_mean, interval_of_share
from ..system.tables import markdown_table
from .plan import Study
from .rows import Row, gates_of, places_of


def _number(value: float | None, digits: int = 3, scale: float = 1.0) -> str:
    return "" if value is None or math.isnan(value) else f"{scale * value:.{digits}f}"


def _of_seeds(values: Sequence[float], digits: int) -> str:
    """The mean, and the lowest and the highest of several; empty where one is NaN."""
    if len(values) < 2 or any(map(math.isnan, values)):
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


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells; columns that are empty in all rows are left out."""
    names = places_of(rows)
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


def as_markdown(
    study: Study, rows: Sequence[Row], missing: Sequence[str], machines: Sequence[str], hours: float
) -> str:
    """The page of a study: its table, and what it is to be read with.

    Args:
        missing: names of cells without a result; machines: that computed the others; hours: of all pre-trainings.
    """
    lines = [f"# {study.title}", "", markdown_table(*_cells(rows)), ""]
    if gates := gates_of(rows):
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
