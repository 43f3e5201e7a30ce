"""The report of the quickstart: its data, its curves, and the error rates on prompts that no stage has seen."""

from __future__ import annotations

import json
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import editdistance
import numpy as np
import yaml

from summarymixing_fairseq.benchmarks.report import markdown_table
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.probing.metrics.bootstrap import interval_of_ratio
from summarymixing_fairseq.system import files
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

CONFIGS = Path(__file__).resolve().parents[1]
RUNS = (("finetune", "pre-trained, then fine-tuned"), ("scratch", "the same model from random weights"))
_RECORD = re.compile(r"\[(?:train_inner|valid)\].*?(\{.*\})")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Figures of training (`train_inner`) and validation (`valid`) in fairseq's JSON log lines, in order of updates.

    A resumed run logs some updates again: the last record of an update and kind counts.
    """
    records: dict[tuple[float, bool], dict[str, Any]] = {}
    for match in _RECORD.finditer(path.read_text(encoding="utf-8", errors="replace")):
        record = json.loads(match[1])
        is_valid = "valid_num_updates" in record
        record["num_updates"] = float(record["valid_num_updates" if is_valid else "num_updates"])
        records[record["num_updates"], is_valid] = record
    return [records[key] for key in sorted(records)]


def series(records: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Updates and values of one figure."""
    logged = [record for record in records if name in record]
    return [record["num_updates"] for record in logged], [float(record[name]) for record in logged]


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


def plot_curves(dest: Path, chance: float, num_codes: int) -> None:
    """Write curves.png: contrastive accuracy and codebook perplexity; CER of both fine-tuning runs.

    Args:
        chance: accuracy of guessing.
        num_codes: entries of the codebook, the largest perplexity that there can be.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.5))
    pretrain = read_log(dest / "pretrain.log")
    codes = left.twinx()
    lines = [
        *left.plot(*series(pretrain, "accuracy"), color="tab:blue", label="accuracy, masked frames of training"),
        *left.plot(*series(pretrain, "valid_accuracy"), "o-", color="navy", label="accuracy, validation"),
        left.axhline(chance, color="grey", linestyle=":", label=f"chance, {chance:.3f}"),
        *codes.plot(
            *series(pretrain, "code_perplexity"), color="tab:orange", label=f"codebook perplexity (of {num_codes})"
        ),
    ]
    left.set(xlabel="updates", ylabel="contrastive accuracy", ylim=(0, 1), title="pre-training")
    codes.set(ylabel="codebook perplexity", ylim=(0, num_codes))
    left.legend(handles=lines, loc="upper right", fontsize=8)

    runs = (("finetune", "pre-trained", "tab:blue"), ("scratch", "from random weights", "tab:red"))
    for name, label, colour in runs:
        updates, rates = series(read_log(dest / f"{name}.log"), "valid_uer")
        right.plot(updates, [rate / 100 for rate in rates], "o-", color=colour, label=label)
    right.set(xlabel="updates", ylabel="CER on the validation prompts", ylim=(0, None), title="CTC fine-tuning")
    right.legend()
    right.grid(alpha=0.3)
    figure.tight_layout()
    with files.atomic_write(dest / "curves.png", "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    pyplot.close(figure)


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

![curves](curves.png)

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
