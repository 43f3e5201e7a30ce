"""The report of the quickstart: its data, its curves, and the error rates on prompts that no stage has seen."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import editdistance
import numpy as np
import yaml

from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.probing.metrics.bootstrap import interval_of_ratio
from summarymixing_fairseq.system import files
from summarymixing_fairseq.system.tables import markdown_table
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ
from summarymixing_fairseq.training.curves import plot_curves, read_runs
from summarymixing_fairseq.training.log_file import read_log, series

CONFIGS = Path(__file__).resolve().parents[1]
RUNS = (("finetune", "pre-trained, then fine-tuned"), ("scratch", "the same model from random weights"))


def manifest_row(path: Path) -> tuple[str, str]:
    """Clips and hours of a manifest."""
    sizes = Manifest(path).sizes
    return str(len(sizes)), f"{sizes.sum() / SAMPLE_RATE_HZ / 3600:.3f}"


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
    rows = [
        (label, f"{score['cer']:.3f}", f"{low:.3f} to {high:.3f}", f"{score['wer']:.3f}")
        for label, score, (low, high) in zip([*(label for _, label in RUNS), "difference"], scores, intervals)
    ]
    return markdown_table(("model", "CER", "95 % interval", "WER"), rows)


def examples_table(dest: Path) -> str:
    """Markdown table of the first eight hypotheses beside their references."""
    shown = [row for row in decoded(dest) if len(row[0]) < 60][:8]
    rows = [[text.lower() or "(nothing)" for text in row] for row in shown]
    return markdown_table(("said", "pre-trained", "from random weights"), rows)


def write_report(dest: Path, records: dict[str, dict[str, Any]]) -> str:
    """Write report.md and its plots, and return the table of results.

    Args:
        records: of each stage its command, seconds and peak memory, as `run_once` returns them.
    """
    pretrain = read_log(dest / "pretrain.log")
    model = yaml.safe_load((CONFIGS / "pretraining" / "quickstart.yaml").read_text(encoding="utf-8"))["model"]
    chance, entries = 1 / (1 + model["num_negatives"]), model["latent_groups"] * model["latent_vars"]
    plot_curves(read_runs([dest / "pretrain.log"]), dest / "curves.png")
    plot_curves(read_runs([dest / f"{name}.log" for name, _ in RUNS]), dest / "curves_finetune.png")
    table = results_table(dest)
    accuracy = series(pretrain, "valid_accuracy")[1]
    perplexity = series(pretrain, "valid_code_perplexity")[1]
    corpus = dest / "corpus"
    names = ("pretrain/train", "pretrain/valid", "finetune/train", "finetune/valid", "finetune/test")
    data = [(name, *manifest_row(corpus / f"{name}.tsv")) for name in names]
    times = [(name, f"{one['seconds']:.0f}", f"{one['peak_mib']:.0f}") for name, one in records.items()]
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

![curves of pre-training](curves.png)

![curves of both fine-tunings](curves_finetune.png)

Pre-training ended at a contrastive accuracy of {accuracy[-1]:.3f} on its validation clips (chance
{chance:.3f}), codebook perplexity {perplexity[-1]:.0f} of {entries}.

## Data

{markdown_table(("manifest", "clips", "hours"), data)}

Licences and voices: corpus/LICENSES.txt.

## Time and memory

{markdown_table(("stage", "seconds", "peak resident MiB so far"), times)}

## Commands

```
{commands}
```
"""
    with files.atomic_write(dest / "report.md") as file:
        file.write(text)
    return table
