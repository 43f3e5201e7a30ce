"""Every head against loops over frames and channels, and its size against its paper."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from probe_reference import (
    assert_head_equals_reference,
    bilstm_ctc,
    bilstm_mean,
    contextnet,
    contextnet_block,
    cosines,
    ecapa_embedding,
    leaky_relu,
    linear_ctc,
    mean_linear,
    sigmoids_ctc,
    trained,
    xvector,
    xvector_embedding,
)
from reference import assert_near, float32, float64, linear, padding_of, part

from summarymixing_fairseq.probing.heads import build_head
from summarymixing_fairseq.probing.heads.contextnet import ContextNetBlock
from summarymixing_fairseq.probing.heads.recurrent import BiLstm

DIM, NUM_CLASSES = 4, 5
SMALL_XVECTOR = {"embedding_dim": 5, "channels": 6}
SMALL_ECAPA = {"embedding_dim": 5, "channels": 16, "aggregated_channels": 6}


def ecapa(p, x, classify):
    return classify(p, "classifier", ecapa_embedding(p, x, 8))


both = [float32.values, float64.values]
one_frame = ([5, 5], [6, 4, 1])
# head, options, reference, lengths of the clips of each batch, precisions
HEADS = {
    **{
        f"{name}_{n}": (name, {"hidden_dim": 3, "num_layers": n}, partial(loop, num_layers=n), one_frame, both)
        for name, loop in (("bilstm_ctc", bilstm_ctc), ("bilstm_mean", bilstm_mean))
        for n in (1, 2)
    },
    "bilstm_mean_no_bias": (
        *("bilstm_mean", {"hidden_dim": 3, "num_layers": 1, "output_bias": False}),
        *(partial(bilstm_mean, num_layers=1), one_frame, both),
    ),
    "linear_ctc": ("linear_ctc", {}, linear_ctc, one_frame, both),
    "sigmoids_ctc": ("linear_ctc", {"hidden_dim": 6}, sigmoids_ctc, one_frame, both),
    "mean_linear": ("mean_linear", {}, mean_linear, one_frame, both),
    # many batch norms in a row make much of float32's rounding
    "contextnet": ("contextnet_ctc", {"width": 1 / 64}, contextnet, ([4, 4], [5, 3, 1]), [(torch.float64, 1e-9)]),
    "xvector": ("xvector", SMALL_XVECTOR, xvector, ([20, 20], [24, 19, 16]), both),
    "xvector_leaky_cosine": (
        *("xvector", {**SMALL_XVECTOR, "activation": "leaky_relu", "cosine": True}),
        *(partial(xvector, activation=leaky_relu, classify=cosines), ([20, 20], [24, 19, 16]), both),
    ),
    "ecapa": ("ecapa", SMALL_ECAPA, partial(ecapa, classify=linear), ([9, 9], [11, 7, 2]), both),
    "ecapa_cosine": (
        *("ecapa", {**SMALL_ECAPA, "attention_dim": 3, "cosine": True}),
        *(partial(ecapa, classify=cosines), ([9, 9], [11, 7, 2]), both),
    ),
}


def assert_equals_the_loops(key):
    name, options, reference, batches, precisions = HEADS[key]
    for dtype, tolerance in precisions:
        for lengths in batches:
            head = trained(build_head(name, DIM, NUM_CLASSES, **options), DIM)
            assert_head_equals_reference(head, reference, lengths, DIM, dtype, tolerance)


@pytest.mark.parametrize("key", HEADS)
def test_equals_the_loops(key):
    assert_equals_the_loops(key)


@pytest.mark.parametrize("key", [key for key in HEADS if "bilstm" in key])
def test_packed_as_on_a_gpu_equals_the_loops(key, monkeypatch):
    """A CPU runs the directions one by one, a GPU a packed sequence."""
    monkeypatch.setattr(BiLstm, "_by_direction", BiLstm._packed)
    assert_equals_the_loops(key)


@pytest.mark.parametrize(
    "name, input_dim, num_classes, options, encoder, expected",
    [
        # 2 directions x 4 gates: input, recurrent and two biases; layer 2 reads both directions of layer 1
        ("bilstm_ctc", 768, 30, {}, "encoder", 8 * 1024 * (768 + 1024 + 2) + 8 * 1024 * (2048 + 1024 + 2)),
        ("bilstm_mean", 768, 30, {}, "encoder", 8 * 768 * (768 + 768 + 2) + 8 * 768 * (1536 + 768 + 2)),
        ("bilstm_mean", 768, 30, {}, "project", 1536 * 768 + 768),
        ("linear_ctc", 768, 30, {}, "", 768 * 30 + 30),
        ("linear_ctc", 768, 30, {"hidden_dim": 1024}, "", 768 * 1024 + 1024 + 1024 * 30 + 30),
        ("bilstm_mean", 768, 18, {"output_bias": False}, "output", 768 * 18),
        ("ecapa", 768, 4, {"embedding_dim": 96, "attention_dim": 64}, "pool.frame", 1536 * 64 + 64),
        ("mean_linear", 768, 30, {}, "", 768 * 30 + 30),
        # Table 1 of Han et al. 2020 has 10.8, 31.4 and 112.7 million with an RNN-T decoder, whose size it does not give
        ("contextnet_ctc", 80, 30, {"width": 0.5}, "blocks", 5_765_208),
        ("contextnet_ctc", 80, 30, {"width": 1.0}, "blocks", 22_681_296),
        ("contextnet_ctc", 80, 30, {"width": 2.0}, "blocks", 89_967_552),
        ("contextnet_ctc", 80, 30, {"width": 2.0}, "output", 1280 * 30 + 30),
        # Table 1 of Desplanques et al. 2020: 6.2 and 14.7 million without the output layer
        ("ecapa", 80, 10, {"channels": 512, "embedding_dim": 192}, "", 6_191_104 + 192 * 10 + 10),
        ("ecapa", 80, 10, {"channels": 1024, "embedding_dim": 192}, "", 14_657_472 + 192 * 10 + 10),
        ("ecapa", 768, 1211, {"cosine": True}, "", 8_936_384 + 512 * 1211),
        # Snyder et al. 2018: 4.2 million up to segment6
        ("xvector", 24, 10, {}, "frame_layers", 61_952 + 2 * 786_944 + 262_656 + 769_500 + 2 * (4 * 512 + 1500)),
        ("xvector", 24, 10, {}, "segment6", 3000 * 512 + 512),
        ("xvector", 24, 10, {}, "classifier", 2 * 512 + 512 * 512 + 512 + 2 * 512 + 512 * 10 + 10),
    ],
)
def test_sizes_of_the_papers(name, input_dim, num_classes, options, encoder, expected):
    head = build_head(name, input_dim, num_classes, **options)
    assert sum(p.numel() for p in head.get_submodule(encoder).parameters()) == expected
    if name.startswith("bilstm"):
        assert head.encoder.lstm.dropout == 0.2


def test_padded_output_of_lstms_is_zero_either_way():
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


@pytest.mark.parametrize("residual", [True, False])
def test_block_of_contextnet_in_float32(residual):
    block = trained(ContextNetBlock(DIM, 16, 3, residual), DIM)
    x, padding = torch.randn(2, 9, DIM), padding_of([9, 5])
    y = block(x.masked_fill(padding[..., None], 0.0), padding)
    assert (y[padding] == 0).all()
    p = {name: value.double() for name, value in block.state_dict().items()}
    for b, length in enumerate([9, 5]):
        expected = contextnet_block(p, list(x[b, :length].double()), 3, residual)
        assert_near(y[b, :length], torch.stack(expected), 1e-5)


def test_embedding_of_xvector_is_the_affine_output_of_segment6():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, cosine=True, **SMALL_XVECTOR), DIM).double()
    x = torch.randn(1, 18, DIM, dtype=torch.float64)
    p = dict(head.state_dict())
    embedding = head.embed(x)[0]
    assert_near(embedding, xvector_embedding(p, x[0]), 1e-10)
    segment7 = head.classifier[:5](embedding[None])[0]
    assert_near(head(x)[0], cosines(part(p, "classifier"), "5", segment7), 1e-10)


def test_receptive_field_of_xvector_is_15_frames():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, **SMALL_XVECTOR), DIM)
    x = torch.randn(1, 31, DIM, requires_grad=True)
    y = x
    for layer in head.frame_layers:
        y, _ = layer(y)
    assert y.size(1) == 31 - 14
    y[0, 8].square().sum().backward()  # the middle: frame 15 of the input
    reached = x.grad[0].abs().sum(1).nonzero().flatten().tolist()
    # t-2..t+2, then two hops of 2, then two of 3: 15 frames without a gap
    assert reached == list(range(8, 23))


def test_mask_of_xvector_shrinks_with_the_frames():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, **SMALL_XVECTOR), DIM)
    x, mask = torch.zeros(2, 30, DIM), padding_of([30, 17])
    for layer in head.frame_layers:
        x, mask = layer(x, mask)
    assert torch.equal(mask, padding_of([16, 3]))
