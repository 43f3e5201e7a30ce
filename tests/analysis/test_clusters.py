"""Purities and PNMI against loops and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import mutual_info_score

from summarymixing_fairseq.analysis.measures.clusters import cluster_quality, count_together


def test_they_are_what_loops_and_scikit_learn_say():
    classes = torch.randint(0, 7, (2000,))
    clusters = (classes + torch.randint(0, 3, (2000,))) * 2  # of 20: some have no frame
    counts = count_together(clusters, classes, 20, 7)
    quality = cluster_quality(counts)
    pairs = list(zip(clusters.tolist(), classes.tolist()))
    most_of_cluster = sum(max(pairs.count((z, y)) for y in range(7)) for z in range(20))
    most_of_class = sum(max(pairs.count((z, y)) for z in range(20)) for y in range(7))
    assert counts.sum() == 2000 and int(counts[4, 2]) == pairs.count((4, 2))
    assert quality.class_purity == pytest.approx(most_of_cluster / 2000, abs=1e-12)
    assert quality.cluster_purity == pytest.approx(most_of_class / 2000, abs=1e-12)
    information, entropy = mutual_info_score(clusters, classes), mutual_info_score(classes, classes)
    assert quality.pnmi == pytest.approx(information / entropy, abs=1e-9)
    assert quality.used_clusters == pytest.approx(9 / 20)


def test_batches_add_up():
    clusters, classes = torch.randint(0, 4, (50,)), torch.randint(0, 3, (50,))
    whole = count_together(clusters, classes, 4, 3)
    assert torch.equal(whole, sum(count_together(clusters[i::2], classes[i::2], 4, 3) for i in range(2)))


def test_perfect_and_random_clusters():
    classes = torch.randint(0, 5, (50_000,))
    finer = classes * 2 + torch.randint(0, 2, classes.shape)
    quality = cluster_quality(count_together(finer, classes, 10, 5))
    assert quality.pnmi == pytest.approx(1) == quality.class_purity and 0.5 <= quality.cluster_purity < 0.52
    random = cluster_quality(count_together(torch.randint(0, 10, classes.shape), classes, 10, 5))
    assert random.pnmi == pytest.approx(0, abs=2e-3) and random.class_purity < 0.25


def test_one_class_and_nothing_counted():
    one = cluster_quality(torch.tensor([[3, 0], [9, 0]]))
    assert math.isnan(one.pnmi) and one.class_purity == 1 and one.cluster_purity == pytest.approx(0.75)
    assert all(math.isnan(value) for value in cluster_quality(torch.zeros(3, 2, dtype=torch.int64)))
