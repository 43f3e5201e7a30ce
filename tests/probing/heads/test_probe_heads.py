"""What holds for every head: padding never reaches a valid frame, short clips are refused, the registry."""

from __future__ import annotations

import copy
import math
from functools import cache

import pytest
import torch
from probe_reference import trained
from probes import HEAD_OPTIONS as SMALL
from reference import assert_near, padding_of

from summarymixing_fairseq.probing.heads import HEADS, EmbeddingHead, ProbeHead, build_head, register_head

DIM, NUM_CLASSES = 7, 5
LENGTHS = [40, 23, 16]
every_head = pytest.mark.parametrize("name", HEADS)
speaker_heads = pytest.mark.parametrize("name", ["xvector", "ecapa"])


@cache
def _built(name):
    return trained(build_head(name, DIM, NUM_CLASSES, **SMALL[name]), DIM)


def build(name, **options):
    if options:
        return trained(build_head(name, DIM, NUM_CLASSES, **SMALL[name], **options), DIM)
    return copy.deepcopy(_built(name))


def padded(fill, extra=0):
    padding = padding_of([*LENGTHS, max(LENGTHS) + extra])[:-1]
    torch.manual_seed(4)
    x = torch.randn(len(LENGTHS), max(LENGTHS), DIM)
    x = torch.cat([x, torch.zeros(len(LENGTHS), extra, DIM)], dim=1)
    return x.masked_fill(padding[..., None], fill), padding


def test_a_head_is_one_file(monkeypatch):
    """A class that is registered is built by its name, with options of its own."""
    assert set(HEADS) == set(SMALL)
    monkeypatch.setitem(HEADS, "mlp", ProbeHead)

    @register_head("mlp")
    class Mlp(ProbeHead):
        def __init__(self, input_dim: int, num_classes: int, *, size: int = 3, rate: float = 0.5):
            super().__init__(input_dim, num_classes)
            self.size, self.rate = size, rate

    head = build_head("mlp", DIM, NUM_CLASSES, size=4, rate=1)
    assert (head.size, head.rate, build_head("mlp", DIM, NUM_CLASSES).size) == (4, 1, 3)
    with pytest.raises(ValueError, match=r"head mlp: size='4' must be of type int"):
        build_head("mlp", DIM, NUM_CLASSES, size="4")


@every_head
@pytest.mark.parametrize("fill", [1e4, math.nan])
def test_a_batch_equals_single_clips(name, fill):
    head = build(name)
    x, padding = padded(fill)
    y = head(x, padding)
    assert torch.isfinite(y).all()
    for b, length in enumerate(LENGTHS):
        alone = head(x[b : b + 1, :length])[0]
        assert_near(y[b, :length] if head.is_frame_level else y[b], alone, 1e-5, f"clip {b}")
    assert_near(head(x[:1], padding[:1]), head(x[:1]), 1e-6)  # a mask without padding


@speaker_heads
@pytest.mark.parametrize("cosine", [False, True])
def test_embeddings_of_a_batch_equal_single_clips(name, cosine):
    head = build(name, cosine=cosine)
    x, padding = padded(math.nan)
    embeddings = head.embed(x, padding)
    assert embeddings.shape == (3, 8)
    assert head.embedding_dim == 8
    assert head.gives_cosines is cosine
    for b, length in enumerate(LENGTHS):
        assert_near(embeddings[b], head.embed(x[b : b + 1, :length])[0], 1e-5)
    scores = head(x, padding)
    assert torch.equal(scores, head.classifier(embeddings))
    if cosine:
        assert (scores.abs() <= 1 + 1e-6).all()


@every_head
def test_training_on_a_padded_batch(name):
    """Garbage in the padding, or more padding, changes nothing; no gradient goes there."""
    first = build(name).double().train()  # many batch norms in a row make much of float32's rounding
    if name.startswith("bilstm"):
        first.encoder.lstm.dropout = 0.0  # more frames would draw another mask
    results = []
    for fill, extra in [(0.0, 0), (math.nan, 0), (1e4, 9)]:
        head = copy.deepcopy(first)
        x, padding = padded(fill, extra)
        x = x.double().requires_grad_()
        y = head(x, padding)
        if head.is_frame_level:
            y = y[~padding]
        y.square().sum().backward()
        assert (x.grad[padding] == 0).all()
        assert x.grad[~padding].abs().sum() > 0
        gradients = {key: p.grad for key, p in head.named_parameters()}
        results.append({"y": y, "x": x.grad[~padding], **gradients, **dict(head.named_buffers())})
    for other in results[1:]:
        for key, value in results[0].items():
            assert_near(other[key], value, 1e-9, key)


@every_head
def test_shapes_and_attributes(name):
    head = build(name)
    y = head(*padded(0.0, extra=3))
    assert head.is_frame_level is name.endswith("_ctc")
    assert y.shape == ((3, 43, NUM_CLASSES) if head.is_frame_level else (3, NUM_CLASSES))
    assert head.min_frames == (15 if name == "xvector" else 1)
    assert head.takes_mean is (name == "mean_linear")
    assert isinstance(head, EmbeddingHead) is (name in ("xvector", "ecapa"))
    assert head.gives_cosines is False


@every_head
@pytest.mark.parametrize("training", [True, False])
def test_shortest_clip(name, training):
    head = build(name).train(training)
    x = torch.randn(1, head.min_frames, DIM, requires_grad=True)
    y = head(x)
    y.square().sum().backward()
    assert torch.isfinite(y).all() and torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@every_head
def test_shorter_clips_are_refused(name):
    head = build(name)
    shortest = head.min_frames
    message = (
        rf"clip 1 of the batch has {shortest - 1} valid frames: {type(head).__name__} takes clips of {shortest} or"
    )
    with pytest.raises(ValueError, match=message):
        head(torch.randn(2, 20, DIM), padding_of([20, shortest - 1]))
    with pytest.raises(ValueError, match=f"clip 0 of the batch has {shortest - 1} valid frames"):
        head(torch.randn(1, shortest - 1, DIM))


@every_head
def test_refuses_what_does_not_fit(name):
    head = build(name)
    with pytest.raises(ValueError, match=rf"features of shape \(1, 20, 8\): .* takes \(B, T, D\) of D = {DIM}"):
        head(torch.randn(1, 20, DIM + 1))
    with pytest.raises(ValueError, match=r"padding_mask of shape \(1, 19\): features have \(B, T\) = \(1, 20\)"):
        head(torch.randn(1, 20, DIM), torch.zeros(1, 19, dtype=torch.bool))
    padding_first = padding_of([20, 16]).flip(1)
    with pytest.raises(ValueError, match="padding must be at the end of each clip"):
        head(torch.randn(2, 20, DIM), padding_first)


@every_head
def test_weights_alone_restore_a_head(name):
    head = build(name)
    twin = build_head(name, DIM, NUM_CLASSES, **SMALL[name]).eval()
    twin.load_state_dict(head.state_dict())
    x, padding = padded(0.0)
    assert torch.equal(head(x, padding), twin(x, padding))


@every_head
def test_autocast(name):
    head = build(name).train()
    x, padding = padded(math.nan)
    with torch.autocast("cpu", torch.bfloat16):
        y = head(x, padding)
    y.float().square().mean().backward()
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("lstm", {}, r"head='lstm' is unknown: choose one of contextnet_ctc, .*, xvector$"),
        ("ecapa", {"width": 2.0}, r"head ecapa has no option 'width': it has embedding_dim, attention_dim, .*cosine"),
        ("mean_linear", {"dropout": 0.1}, r"head mean_linear has no option 'dropout': it has none"),
        ("linear_ctc", {"hidden_dim": -1}, r"hidden_dim=-1: must be 0 or more"),
        ("xvector", {"activation": "gelu"}, r"activation='gelu': choose relu or leaky_relu"),
        ("ecapa", {"channels": 20}, r"channels=20: must be a multiple of 8"),
        ("ecapa", {"embedding_dim": 0}, r"embedding_dim=0: must be positive"),
        ("xvector", {"channels": -1}, r"channels=-1: must be positive"),
        ("contextnet_ctc", {"width": 0.0}, r"width=0.0: must be positive"),
        ("contextnet_ctc", {"width": 0.001}, r"width=0.001: leaves no channel of 256"),
        ("bilstm_ctc", {"dropout": 1.5}, r"dropout=1.5: must be a probability, 0 to 1"),
        ("bilstm_mean", {"num_layers": 0}, r"num_layers=0: must be positive"),
    ],
)
def test_refuses_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_head(name, DIM, NUM_CLASSES, **options)


@pytest.mark.parametrize("sizes, message", [((0, 4), "input_dim=0"), ((4, 0), "num_classes=0")])
def test_refuses_sizes(sizes, message):
    with pytest.raises(ValueError, match=f"{message}: must be positive"):
        build_head("mean_linear", *sizes)
