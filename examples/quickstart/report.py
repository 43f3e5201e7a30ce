"""The report of the quickstart: its data, its curves, and the error rates on prompts that no stage has seen."""

from __future__ import annotations

import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.probing.metrics.bootstrap import Interval
from summarymixing_fairseq.probing.metrics.error_rate import character_error_rate, word_error_rate
from summarymixing_fairseq.probing.metrics.trainings import interval_over_seeds
from summarymixing_fairseq.system import files
from summarymixing_fairseq.system.tables import markdown_table
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ
from summarymixing_fairseq.training.curves import plot_curves, read_runs
from summarymixing_fairseq.training.log_file import Records, read_log

RUNS = {"finetune": "pre-trained, then fine-tuned", "scratch": "the same model from random weights"}
# Prefix of the stages that decode: decode_MODEL_LABELS_SEED.
DECODED = "decode_"


def manifest_row(path: Path) -> tuple[str, str]:
    """Clips and hours of a manifest."""
    sizes = Manifest(path).sizes
    return str(len(sizes)), f"{sizes.sum() / SAMPLE_RATE_HZ / 3600:.3f}"


def decoded(dest: Path, stages: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """References of the held-out prompts, and the hypotheses of each stage."""
    lines = [
        (dest / name / file).read_text(encoding="utf-8").splitlines()
        for name, file in [(stages[0], "ref.wrd"), *((stage, "hypo.wrd") for stage in stages)]
    ]
    return lines[0], lines[1:]


def results_table(dest: Path, stages: Mapping[str, Sequence[str]]) -> str:
    """Markdown table of both models on the held-out prompts.

    Args:
        stages: of each model the stages that decoded by it, one for each seed.
    """
    errors, rows = {}, []
    for model, names in stages.items():
        references, hypotheses = decoded(dest, names)
        letters = [character_error_rate(references, texts) for texts in hypotheses]
        words = [word_error_rate(references, texts).rate for texts in hypotheses]
        errors[model] = np.stack([rate.utterance_errors for rate in letters])  # (seeds, prompts)
        totals = letters[0].utterance_lengths
        rates = [rate.rate for rate in letters]
        interval = interval_over_seeds(errors[model], totals)
        seeds = " ".join(f"{rate:.3f}" for rate in rates)
        rows.append((RUNS[model], f"{mean(rates):.3f}", spread(interval), seeds, f"{mean(words):.3f}"))
    first, second = errors.values()
    ratio = interval_over_seeds(first, totals, second)
    rows.append(("first to second", f"{first.sum() / second.sum():.3f}", spread(ratio), "", ""))
    return markdown_table(("model", "CER", "95 % interval", "of each seed", "WER"), rows)


def spread(interval: Interval) -> str:
    """An interval's ends; nothing of one seed, which has none."""
    return "" if math.isnan(interval[0]) else "{:.3f} to {:.3f}".format(*interval)


def examples_table(dest: Path, stages: Mapping[str, Sequence[str]]) -> str:
    """Markdown table of the first eight hypotheses of the first seed beside their references."""
    references, hypotheses = decoded(dest, [names[0] for names in stages.values()])
    shown = [row for row in zip(references, *hypotheses) if len(row[0]) < 60][:8]
    rows = [[text.lower() or "(nothing)" for text in row] for row in shown]
    return markdown_table(("said", "pre-trained", "from random weights"), rows)


def quality_table(records: Records) -> str:
    """Markdown table of the encoder's frames at the start and at the end of pre-training."""
    first, last = records[0], next(record for record in reversed(records) if "valid_loss" in record)
    rows = []
    for prefix, title, scale in (("valid_phones_", "phones told apart, %: ", 100), ("valid_rank_", "rank: ", 1)):
        for name in filter(lambda name: name.startswith(prefix), last):
            values = (f"{scale * float(record[name]):.1f}" for record in (first, last))
            rows.append((title + name.removeprefix(prefix), *values))
    return markdown_table(("", "random weights", "pre-trained"), rows)


def write_report(dest: Path, train: str, records: dict[str, dict[str, Any]]) -> str:
    """Write report.md and its plots, and return the table of results.

    Args:
        train: split that was fine-tuned on.
        records: of each stage its command, seconds and peak memory, as `keep` returns them.
    """
    stages = {model: [name for name in records if name.startswith(f"{DECODED}{model}_")] for model in RUNS}
    first = [names[0].removeprefix(DECODED) for names in stages.values()]
    pretrain = read_log(dest / "pretrain.log")
    plot_curves(read_runs([dest / "pretrain.log"]), dest / "curves.png")
    plot_curves(read_runs([dest / f"{name}.log" for name in first]), dest / "curves_finetune.png")
    table = results_table(dest, stages)
    corpus = dest / "corpus"
    names = ("pretrain/train", "pretrain/valid", f"finetune/{train}", "finetune/valid", "finetune/test")
    data = [(name, *manifest_row(corpus / f"{name}.tsv")) for name in names]
    times = [(name, f"{one['seconds']:.0f}", f"{one['peak_mib'] or ''}") for name, one in records.items()]
    commands = "\n".join(shlex.join(record["command"]) for record in records.values())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy"))
    text = f"""# Quickstart report

{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}.

## On {manifest_row(corpus / "finetune/test.tsv")[0]} held-out English prompts

No stage has seen these prompts, or another recording of their texts. Both models had the same fine-tuning data, updates
and hyper-parameters, from each seed; the checkpoint that is best on the validation prompts is scored. Greedy decoding,
no language model. Intervals: 95 %, over seeds of fine-tuning and prompts (Student's t); there is one pre-training.

{table}

{examples_table(dest, stages)}

![curves of pre-training](curves.png)

![curves of both fine-tunings](curves_finetune.png)

## What the frames hold

Phones that a linear map tells from single frames, on synthesised speech of unseen voices. Rank: over how many
directions the frames of a minute of validation clips spread.

{quality_table(pretrain)}

## Data

{markdown_table(("manifest", "clips", "hours"), data)}

Licences and voices: corpus/LICENSES.txt.

## Time and memory

Two stages run side by side, each with one thread.

{markdown_table(("stage", "seconds", "peak resident MiB"), times)}

## Commands

```
{commands}
```
"""
    with files.atomic_write(dest / "report.md") as file:
        file.write(text)
    return table
