"""Recurrent and linear probes against loops over frames; the CPU's padded path against packed sequences."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from probe_reference import assert_head_equals_reference, bilstm_ctc, bilstm_mean, linear_ctc, mean_linear, trained
from reference import assert_near, float32, float64, padding_of

from summarymixing_fairseq.probing.heads import build_head
from summarymixing_fairseq.probing.heads.recurrent import BiLstm

DIM, NUM_CLASSES = 4, 5
# a CPU runs the directions one by one, a GPU a packed sequence
either_way = pytest.mark.parametrize("on_gpu", [False, True], ids=["cpu", "gpu"])


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 4, 1]])
@pytest.mark.parametrize("num_layers", [1, 2])
@either_way
@pytest.mark.parametrize("name, reference", [("bilstm_ctc", bilstm_ctc), ("bilstm_mean", bilstm_mean)])
def test_bilstm_heads_equal_the_loops(name, reference, on_gpu, num_layers, lengths, dtype, tolerance, monkeypatch):
    if on_gpu:
        monkeypatch.setattr(BiLstm, "_by_direction", BiLstm._packed)
    head = trained(build_head(name, DIM, NUM_CLASSES, hidden_dim=3, num_layers=num_layers), DIM)
    reference = partial(reference, num_layers=num_layers)
    assert_head_equals_reference(head, reference, lengths, DIM, dtype, tolerance)


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 4, 1]])
@pytest.mark.parametrize("name, reference", [("linear_ctc", linear_ctc), ("mean_linear", mean_linear)])
def test_linear_heads_equal_the_loops(name, reference, lengths, dtype, tolerance):
    head = trained(build_head(name, DIM, NUM_CLASSES), DIM)
    assert_head_equals_reference(head, reference, lengths, DIM, dtype, tolerance)


def test_padded_output_is_zero_either_way():
    lstm = BiLstm(DIM, 3, 2, 0.0).eval()
    x, lengths = torch.randn(2, 9, DIM), torch.tensor([7, 4])
    y = lstm(x, lengths)
    assert_near(y, lstm._packed(x, lengths), 1e-6)
    assert (y[0, 7:] == 0).all() and (y[1, 4:] == 0).all() and y.shape == (2, 9, 6)


@pytest.mark.parametrize("lengths", [None, torch.tensor([30, 20])])
def test_dropout_is_between_layers_and_in_training_only(lengths):
    x = torch.randn(2, 30, DIM)
    for num_layers, differs in [(1, False), (2, True)]:
        lstm = BiLstm(DIM, 6, num_layers, 0.5)
        assert (not torch.equal(lstm(x, lengths), lstm(x, lengths))) is differs
        assert not (lstm(x, lengths)[:, 0] == 0).any()  # not on the last layer's output
        lstm.eval()
        assert torch.equal(lstm(x, lengths), lstm(x, lengths))


def test_half_of_the_first_layer_is_dropped():
    lstm = BiLstm(1, 200, 2, 0.5)
    padding = padding_of([40, 30])
    seen = []
    original = lstm._direction
    lstm._direction = lambda x, name: (seen.append((name, x)), original(x, name))[1]
    lstm(torch.randn(2, 40, 1), (~padding).sum(1))
    dropped = next(x for name, x in seen if name == "l1")[~padding] == 0
    assert 0.48 < dropped.float().mean() < 0.52


@pytest.mark.parametrize(
    "name, input_dim, expected",
    [
        # 2 directions x 4 gates: input, recurrent and two biases; layer 2 reads both directions of layer 1
        ("bilstm_ctc", 768, 8 * 1024 * (768 + 1024 + 2) + 8 * 1024 * (2048 + 1024 + 2) + 2048 * 30 + 30),
        (
            "bilstm_mean",
            768,
            8 * 768 * (768 + 768 + 2) + 8 * 768 * (1536 + 768 + 2) + (1536 * 768 + 768) + 768 * 30 + 30,
        ),
        ("linear_ctc", 768, 768 * 30 + 30),
        ("mean_linear", 768, 768 * 30 + 30),
    ],
)
def test_sizes_of_the_paper(name, input_dim, expected):
    head = build_head(name, input_dim, 30)
    assert sum(p.numel() for p in head.parameters()) == expected
    if name.startswith("bilstm"):
        assert head.encoder.lstm.dropout == 0.2
