"""The quickstart's report: what was trained on what, and the error rates on prompts that no stage has seen."""

from __future__ import annotations

import json
import platform
import random
from importlib import metadata
from pathlib import Path
from typing import Any

import editdistance
import yaml
from curves import plot_curves, read_log, series

from summarymixing_fairseq.system import files

CONFIGS = Path(__file__).resolve().parents[1]
RUNS = (("finetune", "pre-trained, then fine-tuned"), ("scratch", "the same model from random weights"))
BOOTSTRAP_DRAWS = 2000


def manifest_hours(path: Path) -> tuple[int, float]:
    """Clips and hours of a manifest."""
    lengths = [int(line.rsplit("\t", 1)[1]) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return len(lengths), sum(lengths) / 16_000 / 3600


def bootstrap_intervals(errors: list[tuple[int, int, int]]) -> list[tuple[float, float]]:
    """95 % intervals of the corpus-level CER of both runs and of their difference.

    Args:
        errors: for each utterance the errors of the first and the second run, and the reference's length.
            Utterances are drawn with replacement, for both runs together.
    """
    generator = random.Random(0)
    draws = []
    for _ in range(BOOTSTRAP_DRAWS):
        first, second, length = (sum(column) for column in zip(*generator.choices(errors, k=len(errors))))
        draws.append((first / length, second / length, (second - first) / length))
    low, high = int(0.025 * BOOTSTRAP_DRAWS), int(0.975 * BOOTSTRAP_DRAWS)
    return [(column[low], column[high]) for column in map(sorted, zip(*draws))]


def results_table(dest: Path) -> str:
    """Markdown table of both runs on the held-out prompts."""
    scores, hypotheses = [], []
    for name, _ in RUNS:
        folder = dest / f"decode_{name}"
        scores.append(json.loads((folder / "scores.json").read_text(encoding="utf-8")))
        hypotheses.append((folder / "hypo.wrd").read_text(encoding="utf-8").splitlines())
    references = (folder / "ref.wrd").read_text(encoding="utf-8").splitlines()
    errors = [
        (*(editdistance.eval(reference, text) for text in texts), len(reference))
        for reference, *texts in zip(references, *hypotheses)
    ]
    rows = ["| model | CER | 95 % interval | WER |", "|---|---|---|---|"]
    intervals = bootstrap_intervals(errors)
    for (_, label), score, (low, high) in zip(RUNS, scores, intervals):
        rows.append(f"| {label} | {score['cer']:.3f} | {low:.3f} to {high:.3f} | {score['wer']:.3f} |")
    difference = [scores[1][rate] - scores[0][rate] for rate in ("cer", "wer")]
    low, high = intervals[2]
    rows.append(f"| difference | {difference[0]:.3f} | {low:.3f} to {high:.3f} | {difference[1]:.3f} |")
    return "\n".join(rows)


def examples_table(dest: Path, count: int = 8) -> str:
    """Markdown table of the first hypotheses beside their references."""
    columns = [
        (dest / f"decode_{RUNS[0][0]}" / "ref.wrd").read_text(encoding="utf-8").splitlines(),
        *((dest / f"decode_{name}" / "hypo.wrd").read_text(encoding="utf-8").splitlines() for name, _ in RUNS),
    ]
    shown = [row for row in zip(*columns) if len(row[0]) < 60][:count]
    header = ["| said | pre-trained | from random weights |", "|---|---|---|"]
    return "\n".join(header + ["| " + " | ".join(text.lower() or "(nothing)" for text in row) + " |" for row in shown])


def write_report(dest: Path, records: dict[str, dict[str, Any]]) -> str:
    """Write report.md and curves.png, and return the table of results."""
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
        clips, hours = manifest_hours(corpus / f"{name}.tsv")
        data.append(f"| {name} | {clips} | {hours:.3f} |")
    time_table = ["| stage | seconds | peak resident MiB so far |", "|---|---|---|"]
    time_table += [f"| {name} | {r['seconds']:.0f} | {r['peak_mib']:.0f} |" for name, r in records.items()]
    commands = "\n".join(" ".join(record["command"]) for record in records.values())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy") if metadata.version(name))
    text = f"""# Quickstart report

{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}.

## On {manifest_hours(corpus / "finetune/test.tsv")[0]} held-out English prompts

No stage has seen these prompts, or another recording of their texts. Both models had the same fine-tuning data, updates
and hyper-parameters; the last checkpoint of each is scored, none is selected. Greedy decoding, no language model.
Intervals: bootstrap over prompts, the same ones drawn for both models.

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
