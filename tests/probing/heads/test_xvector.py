"""x-vector against loops over frames, and its size against Table 1 of Snyder et al. 2018."""

from __future__ import annotations

import pytest
import torch
from probe_reference import assert_head_equals_reference, cosines, trained, xvector, xvector_embedding
from reference import assert_near, float32, float64, padding_of, part

from summarymixing_fairseq.probing.heads import build_head

DIM, NUM_CLASSES = 4, 3
SMALL = {"embedding_dim": 5, "channels": 6}


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", [[20, 20], [24, 19, 16]])
def test_equals_the_loops(lengths, dtype, tolerance):
    head = trained(build_head("xvector", DIM, NUM_CLASSES, **SMALL), DIM)
    assert_head_equals_reference(head, xvector, lengths, DIM, dtype, tolerance)


def test_embedding_is_the_affine_output_of_segment6():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, cosine=True, **SMALL), DIM).double()
    x = torch.randn(1, 18, DIM, dtype=torch.float64)
    p = dict(head.state_dict())
    embedding = head.embed(x)[0]
    assert_near(embedding, xvector_embedding(p, x[0]), 1e-10)
    segment7 = head.classifier[:5](embedding[None])[0]
    assert_near(head(x)[0], cosines(part(p, "classifier"), "5", segment7), 1e-10)


def test_receptive_field_is_15_frames():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, **SMALL), DIM)
    assert head.min_frames == 15
    x = torch.randn(1, 31, DIM, requires_grad=True)
    y = x
    for layer in head.frame_layers:
        y, _ = layer(y)
    assert y.size(1) == 31 - 14
    y[0, 8].square().sum().backward()  # the middle: frame 15 of the input
    reached = x.grad[0].abs().sum(1).nonzero().flatten().tolist()
    # t-2..t+2, then two hops of 2, then two of 3: 15 frames without a gap
    assert reached == list(range(8, 23))


def test_mask_shrinks_with_the_frames():
    head = trained(build_head("xvector", DIM, NUM_CLASSES, **SMALL), DIM)
    x, mask = torch.zeros(2, 30, DIM), padding_of([30, 17])
    for layer in head.frame_layers:
        x, mask = layer(x, mask)
    assert torch.equal(mask, padding_of([16, 3]))


def test_size_of_the_paper():
    """Table 1 with 24-dim input: input x output of each layer; the text: 4.2 million up to segment6."""
    num_speakers = 10
    head = build_head("xvector", 24, num_speakers)
    table = {
        "frame_layers.0.conv": 120 * 512,
        "frame_layers.1.conv": 1536 * 512,
        "frame_layers.2.conv": 1536 * 512,
        "frame_layers.3.conv": 512 * 512,
        "frame_layers.4.conv": 512 * 1500,
        "segment6": 3000 * 512,
        "classifier.2": 512 * 512,  # segment7
        "classifier.5": 512 * num_speakers,
    }
    for name, num_weights in table.items():
        assert head.get_submodule(name).weight.numel() == num_weights, name
    weights_and_biases = 61_952 + 786_944 + 786_944 + 262_656 + 769_500 + 1_536_512
    norms = 2 * (4 * 512 + 1500)
    up_to_embedding = [p.numel() for name, p in head.named_parameters() if not name.startswith("classifier")]
    assert sum(up_to_embedding) == weights_and_biases + norms == 4_211_604
    assert sum(up_to_embedding) == pytest.approx(4.2e6, rel=0.01)
    rest = 2 * 512 + 512 * 512 + 512 + 2 * 512 + 512 * num_speakers + num_speakers
    assert sum(p.numel() for p in head.parameters()) == 4_211_604 + rest
