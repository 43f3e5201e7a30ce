"""How much of a number a linear map tells, trained on other groups of examples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Of ridge regression, one of which is chosen on the training examples (leave-one-out).
PENALTIES = 10.0 ** np.arange(-3, 5)
# Of the mean square: variance below is what rounding leaves of none.
ROUNDING = 1e-12


def explained_by_group(inputs: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> list[Tensor]:
    """Sums for ``share_explained`` of each group, predicted by ridge regression on the other groups.

    Args:
        inputs: (n, D); targets, groups: (n,).

    Returns:
        (4,) float64 for each group: squared errors, targets, their squares, examples.
    """
    from sklearn.linear_model import RidgeCV  # takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = []
    for group in np.unique(groups):
        test = groups == group
        probe = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(inputs[~test], targets[~test])
        errors = np.square(probe.predict(inputs[test]) - targets[test]).sum()
        of_targets = targets[test].sum(), np.square(targets[test]).sum(), test.sum()
        parts.append(torch.tensor([errors, *of_targets], dtype=torch.float64))
    return parts


def share_explained(sums: Tensor) -> float:
    """R^2: 1 where all is predicted; 0 where the mean of all would do as well; below 0 where it would do better; nan
    where all targets are the same."""
    errors, total, squares, count = sums.tolist()
    scatter = squares - total * total / count
    return 1 - errors / scatter if scatter > ROUNDING * squares else float("nan")
