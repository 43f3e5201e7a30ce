"""Results on MP3S reported by "Linear-Complexity Self-Supervised Learning for Speech Processing" (arXiv 2407.13377).

These are the figures that this project has on record: Welsh, SLURP, and the average over the low-resource recognition
tasks. The probe that gave them is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "arXiv 2407.13377"
SUMMARYMIXING, MHSA, BASE, LARGE = "SummaryMixing", "MHSA", "wav2vec 2.0 base", "wav2vec 2.0 large"


@dataclass(frozen=True)
class Figure:
    """A reported figure, in percent, of the task's metric on its test split."""

    task: str
    system: str
    percent: float


FIGURES = (
    Figure("commonvoice_cy", SUMMARYMIXING, 48.3),
    Figure("commonvoice_cy", MHSA, 50.8),
    Figure("commonvoice_cy", BASE, 54.5),
    Figure("commonvoice_cy", LARGE, 45.4),
    Figure("slurp", SUMMARYMIXING, 80.5),
    Figure("slurp", MHSA, 78.1),
    Figure("slurp", BASE, 77.7),
    Figure("slurp", LARGE, 79.0),
)
# averaged over Welsh and Basque, SummaryMixing relative to its MHSA twin
LOW_RESOURCE_TASKS = ("commonvoice_cy", "commonvoice_eu")
LOW_RESOURCE_RELATIVE_WER_PERCENT = -7.8


def figures_of(task: str) -> list[Figure]:
    """Reported figures of a task, by its name; most tasks have none."""
    return [figure for figure in FIGURES if figure.task == task]
