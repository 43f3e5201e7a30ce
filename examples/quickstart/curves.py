"""Figures from fairseq's JSON log lines, and the two plots of the quickstart."""

from __future__ import annotations

import json
import re
from pathlib import Path

from summarymixing_fairseq.system import files

_RECORD = re.compile(r"\[(?:train_inner|valid)\].*?(\{.*\})")


def read_log(path: Path) -> list[dict[str, float]]:
    """Figures of training (`train_inner`) and validation (`valid`), in the order of updates.

    A resumed run logs some updates again: the last record of an update and kind counts.
    """
    records: dict[tuple[float, bool], dict[str, float]] = {}
    for match in _RECORD.finditer(path.read_text(encoding="utf-8", errors="replace")):
        record = {name: float(value) for name, value in json.loads(match[1]).items() if _is_number(value)}
        is_valid = "valid_num_updates" in record
        record["num_updates"] = record.get("valid_num_updates", record.get("num_updates", 0.0))
        records[record["num_updates"], is_valid] = record
    return [records[key] for key in sorted(records)]


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # JSON: text, a number or None
    except (TypeError, ValueError):
        return False
    return True


def series(records: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Updates and values of one figure."""
    pairs = [(record["num_updates"], record[name]) for record in records if name in record]
    return [x for x, _ in pairs], [y for _, y in pairs]


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
