"""R^2 across groups against scikit-learn's cross-validation."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from summarymixing_fairseq.analysis.measures.regression import PENALTIES, explained_by_group, share_explained


def test_r2_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    inputs, groups = rng.standard_normal((40, 6)), np.arange(40) % 7
    targets = inputs @ rng.standard_normal(6) + rng.standard_normal(40) + 5
    parts = explained_by_group(inputs, targets, groups)
    assert len(parts) == 7
    probe = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    predicted = cross_val_predict(probe, inputs, targets, groups=groups, cv=LeaveOneGroupOut())
    assert abs(share_explained(sum(parts)) - r2_score(targets, predicted)) < 1e-9
    without = [i for i in range(40) if groups[i] != 3]
    assert abs(share_explained(sum(parts) - parts[3]) - r2_score(targets[without], predicted[without])) < 1e-9


def test_targets_that_are_all_the_same_have_no_number():
    """Rounding leaves some variance of clips of one length."""
    targets = np.full(30, math.log(749))
    parts = explained_by_group(np.random.default_rng(0).standard_normal((30, 3)), targets, np.arange(30) % 10)
    assert math.isnan(share_explained(sum(parts)))
    assert math.isnan(share_explained(torch.tensor([1.0, 2.0, 4.0, 1.0])))  # one example
