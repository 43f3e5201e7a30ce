"""What a study found: of each encoder the numbers of all its seeds, with intervals over seeds and clips."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from ..probing.metrics.bootstrap import UNDEFINED, Interval
from ..probing.metrics.trainings import interval_over_seeds
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
        shares: how much of each layer's SummaryMixing cell is the summary, 0 to 1, or NaN where it has no gate: for
            each seed those of the layers, lowest first, by task and probe.
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
        _by_probe(results, lambda one: [math.nan if x is None else x for x in one.get("summary_shares", ())] or None),
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


def places_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(place for row in rows for place in row.phones))


def gates_of(rows: Sequence[Row]) -> list[tuple[str, str, list[tuple[float, ...]]]]:
    """Encoder, probe, and by layer the shares of all seeds. A frozen encoder has the same with every probe."""
    found = []
    for row in rows:
        of_probe = dict(row.shares)
        if len(of_probe) > 1 and all(shares == next(iter(of_probe.values())) for shares in of_probe.values()):
            of_probe = {"every probe": next(iter(of_probe.values()))}
        found += [(row.encoder, probe, list(zip(*shares))) for probe, shares in of_probe.items()]
    return found
