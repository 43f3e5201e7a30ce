"""The fused pair of block-diagonal layers, against float64. It needs a GPU, or Triton with TRITON_INTERPRET=1."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from mixers import small_mixer
from torch import Tensor

from summarymixing_fairseq.modules.kernels.block_mlp import block_mlp, is_fused
from summarymixing_fairseq.modules.mixing.summarymixing import ACTIVATIONS, HeadMLP

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_triton = pytest.mark.skipif(DEVICE == "cpu" and not INTERPRETED, reason="no GPU, and Triton does not interpret")
# heads, widths of a block, clips and frames
SHAPES = [(3, 12, 20, 24, 2, 37), (4, 36, 36, 36, 3, 170), (2, 96, 96, 96, 1, 130), (2, 128, 128, 128, 2, 65)]


def by_torch(x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, name: str) -> Tensor:
    heads, width, _ = inner.shape
    y = []
    for head in range(heads):
        frames = x[..., head * width : (head + 1) * width]
        hidden = ACTIVATIONS[name](frames @ inner[head] + inner_bias.view(heads, -1)[head])
        y.append(ACTIVATIONS[name](hidden @ outer[head] + outer_bias.view(heads, -1)[head]))
    return torch.cat(y, -1)


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_outputs_and_gradients_equal_float64(dtype, name, shape, expanded):
    """With a gradient for each frame, and with one for all of a clip, as that of a mean is."""
    if dtype == torch.bfloat16 and INTERPRETED:
        pytest.skip("the interpreter's bfloat16 is not a GPU's")
    heads, width, hidden, out, clips, frames = shape
    sizes = [((clips, frames, heads * width), 1.0), ((heads, width, hidden), width**-0.5), ((heads * hidden,), 1.0)]
    sizes += [((heads, hidden, out), hidden**-0.5), ((heads * out,), 1.0)]
    inputs = [(scale * torch.randn(size, dtype=torch.float64)).to(dtype) for size, scale in sizes]
    inputs = [x.to(DEVICE).requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    gradient = torch.randn(clips, 1 if expanded else frames, heads * out, device=DEVICE).to(dtype)
    gradient = gradient.expand(clips, frames, heads * out)
    y, expected = block_mlp(*inputs, name), by_torch(*exact, name)
    found = [y, *torch.autograd.grad(y, inputs, gradient)]
    wanted = [expected, *torch.autograd.grad(expected, exact, gradient.double())]
    limit = 1.6e-2 if dtype == torch.bfloat16 else 2e-3
    if name == "relu":  # a value that rounds to the other side of 0 lets its gradient through or not
        limit = 0.1
    for actual, value in zip(found, wanted):
        assert actual.dtype == dtype and actual.shape == value.shape
        assert float((actual.double() - value).norm() / value.norm()) < limit


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_the_cell_takes_it_and_padding_has_no_effect():
    mixer = small_mixer("summarymixing", 96, 4, activation="swish").to(DEVICE, torch.bfloat16).eval()
    x = torch.randn(2, 50, 96, device=DEVICE, dtype=torch.bfloat16)
    assert mixer.local.is_fused(x)
    padding = torch.zeros(2, 50, dtype=torch.bool, device=DEVICE)
    padding[1, 30:] = True
    y = mixer(x.masked_fill(padding[..., None], 1e4), padding)
    alone = mixer(x[1:, :30])
    assert float((y[1, :30] - alone[0]).abs().max()) < 2e-2 * float(alone.abs().max())


def test_who_takes_it():
    half, wide = torch.randn(1, 3, 8, dtype=torch.bfloat16), HeadMLP(1032, 1032, 1032, 8, "gelu")
    on_meta = half.to("meta")
    assert is_fused(on_meta, 2, 2, 2) and not is_fused(half, 2, 2, 2) and not is_fused(on_meta.float(), 2, 2, 2)
    assert not wide.is_fused(on_meta)  # 129 channels a block
