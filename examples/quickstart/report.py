"""The report of the quickstart: its data, and the error rates on prompts that no stage has seen."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import editdistance
import numpy as np
import yaml
from curves import plot_curves, read_log, series

from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.probing.metrics.bootstrap import interval_of_ratio
from summarymixing_fairseq.system import files
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

CONFIGS = Path(__file__).resolve().parents[1]
RUNS = (("finetune", "pre-trained, then fine-tuned"), ("scratch", "the same model from random weights"))


def manifest_row(path: Path) -> tuple[int, float]:
    """Clips and hours of a manifest."""
    sizes = Manifest(path).sizes
    return len(sizes), sizes.sum() / SAMPLE_RATE_HZ / 3600


def decoded(dest: Path) -> list[tuple[str, ...]]:
    """Of each held-out prompt its reference and the hypotheses of both runs."""
    paths = [dest / f"decode_{RUNS[0][0]}" / "ref.wrd", *(dest / f"decode_{name}" / "hypo.wrd" for name, _ in RUNS)]
    return list(zip(*(path.read_text(encoding="utf-8").splitlines() for path in paths)))


def results_table(dest: Path) -> str:
    """Markdown table of both runs on the held-out prompts."""
    scores = [json.loads((dest / f"decode_{name}" / "scores.json").read_text(encoding="utf-8")) for name, _ in RUNS]
    scores.append({rate: scores[1][rate] - scores[0][rate] for rate in ("cer", "wer")})
    counts = [
        (*(editdistance.eval(reference, text) for text in texts), len(reference)) for reference, *texts in decoded(dest)
    ]
    first, second, length = np.array(counts).T  # (prompts,) each
    intervals = [interval_of_ratio(errors, length) for errors in (first, second, second - first)]
    rows = ["| model | CER | 95 % interval | WER |", "|---|---|---|---|"]
    for label, score, (low, high) in zip([*(label for _, label in RUNS), "difference"], scores, intervals):
        rows.append(f"| {label} | {score['cer']:.3f} | {low:.3f} to {high:.3f} | {score['wer']:.3f} |")
    return "\n".join(rows)


def examples_table(dest: Path) -> str:
    """Markdown table of the first eight hypotheses beside their references."""
    shown = [row for row in decoded(dest) if len(row[0]) < 60][:8]
    header = ["| said | pre-trained | from random weights |", "|---|---|---|"]
    return "\n".join(header + ["| " + " | ".join(text.lower() or "(nothing)" for text in row) + " |" for row in shown])


def write_report(dest: Path, records: dict[str, dict[str, Any]]) -> str:
    """Write report.md and curves.png, and return the table of results.

    Args:
        records: of each stage its command, seconds and peak memory, as `run_once` returns them.
    """
    pretrain = read_log(dest / "pretrain.log")
    model = yaml.safe_load((CONFIGS / "pretraining" / "quickstart.yaml").read_text(encoding="utf-8"))["model"]
    chance, entries = 1 / (1 + model["num_negatives"]), model["latent_groups"] * model["latent_vars"]
    plot_curves(dest, chance, entries)
    table = results_table(dest)
    accuracy = series(pretrain, "valid_accuracy")[1]
    perplexity = series(pretrain, "valid_code_perplexity")[1]
    corpus = dest / "corpus"
    data = ["| manifest | clips | hours |", "|---|---|---|"]
    for name in ("pretrain/train", "pretrain/valid", "finetune/train", "finetune/valid", "finetune/test"):
        clips, hours = manifest_row(corpus / f"{name}.tsv")
        data.append(f"| {name} | {clips} | {hours:.3f} |")
    time_table = ["| stage | seconds | peak resident MiB so far |", "|---|---|---|"]
    time_table += [f"| {name} | {r['seconds']:.0f} | {r['peak_mib']:.0f} |" for name, r in records.items()]
    commands = "\n".join(" ".join(record["command"]) for record in records.values())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy"))
    text = f"""# Quickstart report

{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}.

## On {manifest_row(corpus / "finetune/test.tsv")[0]} held-out English prompts

No stage has seen these prompts, or another recording of their texts. Both models had the same fine-tuning data, updates
and hyper-parameters; the last checkpoint of each is scored, none is selected. Greedy decoding, no language model.
Intervals: bootstrap over prompts; for the difference both models get the same ones.

{table}

{examples_table(dest)}

![curves](curves.png)

Pre-training ended at a contrastive accuracy of {accuracy[-1]:.3f} on its validation clips (chance
{chance:.3f}), codebook perplexity {perplexity[-1]:.0f} of {entries}.

## Data

{chr(10).join(data)}

Licences and voices: corpus/LICENSES.txt.

## Time and memory

{chr(10).join(time_table)}

## Commands

```
{commands}
```
"""
    with files.atomic_write(dest / "report.md") as file:
        file.write(text)
    return table
