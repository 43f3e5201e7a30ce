"""The formulas of the modules as plain loops over frames and heads. Nothing here is taken from the package."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Parameters = dict[str, Tensor]
Reference = Callable[[Parameters, Tensor], Tensor]

float32 = pytest.param(torch.float32, 1e-5, id="float32")
float64 = pytest.param(torch.float64, 1e-10, id="float64")


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def swish(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def relu(x: Tensor) -> Tensor:
    return x * (x > 0)


ACTIVATIONS = {"gelu": gelu, "swish": swish, "relu": relu, "none": lambda x: x}


def layer_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Of one vector; left out where the module has no such norm."""
    if f"{name}.weight" not in p:
        return x
    centred = x - x.mean()
    return centred / ((centred**2).mean() + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def head_linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Of one vector, head by head: slice h of the input times block h is slice h of the output."""
    blocks = p[f"{name}.weight"]
    width = len(x) // len(blocks)
    outputs = [x[h * width : (h + 1) * width] @ block for h, block in enumerate(blocks)]
    return torch.cat(outputs) + p[f"{name}.bias"]


def head_mlp(p: Parameters, name: str, x: Tensor, activation: Callable) -> Tensor:
    hidden = activation(head_linear(p, f"{name}.inner", x))
    return activation(head_linear(p, f"{name}.outer", hidden))


def summary_mixing(p: Parameters, x: Tensor, mode: str = "full", activation: str = "gelu") -> Tensor:
    """The cell on one utterance (T, D) without padding: f_t, s and the combiner on their concatenation."""
    act = ACTIVATIONS[activation]
    values = [] if mode == "local" else [head_mlp(p, "summary", frame, act) for frame in x]
    outputs = []
    for t, frame in enumerate(x):
        parts = []
        if mode not in ("lite", "global"):
            parts.append(layer_norm(p, "local_norm", head_mlp(p, "local", frame, act)))
        if mode != "local":
            weights = [0.995 ** abs(t - u) if mode == "expdecay" else 1.0 for u in range(len(x))]
            mean = sum(w * v for w, v in zip(weights, values)) / sum(weights)
            parts.append(layer_norm(p, "summary_norm", mean))
        if "gate_logit" in p:
            share = (10 * p["gate_logit"]).sigmoid()
            parts = [2 * (1 - share) * parts[0], 2 * share * parts[1]]
        if mode in ("lite", "sum"):
            outputs.append(sum(parts))
        else:
            outputs.append(act(linear(p, "combiner", torch.cat(parts))))
    return torch.stack(outputs)


def by_head(p: Parameters, x: Tensor, num_heads: int, mix: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> Tensor:
    """Projections of one utterance (T, D), ``mix`` of queries, keys, values (T, d) and the head's number, output."""
    width = x.size(1) // num_heads
    projected = torch.stack([linear(p, "in_proj", frame) for frame in x])
    heads = []
    for h in range(num_heads):
        q, k, v = (part[:, h * width : (h + 1) * width] for part in projected.chunk(3, 1))
        heads.append(mix(q, k, v, h))
    return torch.stack([linear(p, "out_proj", frame) for frame in torch.cat(heads, 1)])


def scaled_product(q: Tensor, k: Tensor, *place: int) -> Tensor:
    return (q * k).sum() / math.sqrt(len(q))


def softmax_mean(scores: list[Tensor], values: Tensor) -> Tensor:
    """Sum of softmax_u(score_u) value_u; values (U, d)."""
    weights = [torch.exp(score - max(s.item() for s in scores)) for score in scores]
    return sum(w * value for w, value in zip(weights, values)) / sum(weights)


def self_attention(
    p: Parameters,
    x: Tensor,
    num_heads: int,
    score: Callable[..., Tensor] = scaled_product,
    hears: Callable[[int, int], bool] = lambda t, u: True,
) -> Tensor:
    """softmax(q k' / sqrt(d)) v of one utterance (T, D), head by head and frame by frame.

    Args:
        score: of a query and a key, the head, and their frames; hears: whether frame t attends to frame u.
    """

    def mix(q: Tensor, k: Tensor, v: Tensor, h: int) -> Tensor:
        rows = []
        for t in range(len(x)):
            heard = [u for u in range(len(x)) if hears(t, u)]
            rows.append(softmax_mean([score(q[t], k[u], h, t, u) for u in heard], v[heard]))
        return torch.stack(rows)

    return by_head(p, x, num_heads, mix)


def kernelised_attention(p: Parameters, x: Tensor, num_heads: int, weight: Callable[..., Tensor]) -> Tensor:
    """Attention whose weights, here of (q, k, h, t, u), are divided by their sum and not put through softmax."""

    def mix(q: Tensor, k: Tensor, v: Tensor, h: int) -> Tensor:
        rows = []
        for t in range(len(x)):
            weights = torch.stack([weight(q, k, h, t, u) for u in range(len(x))])
            rows.append((weights[:, None] * v).sum(0) / weights.sum().clamp(min=1e-6))
        return torch.stack(rows)

    return by_head(p, x, num_heads, mix)


def feed_forward(p: Parameters, x: Tensor) -> Tensor:
    return torch.stack([linear(p, "outer", swish(linear(p, "inner", layer_norm(p, "norm", frame)))) for frame in x])


def convolution_module(p: Parameters, x: Tensor) -> Tensor:
    """Of one utterance (T, D); frames before its first and after its last are zero to the depthwise convolution."""
    gated = []
    for frame in x:
        a, b = linear(p, "expand", layer_norm(p, "norm", frame)).chunk(2)
        gated.append(a / (1 + torch.exp(-b)))
    kernel = p["depthwise.weight"][:, 0]  # (D, kernel size)
    reach = kernel.size(1) // 2
    outputs = []
    for t in range(len(x)):
        y = p["depthwise.bias"]
        for k in range(kernel.size(1)):
            if 0 <= t + k - reach < len(x):
                y = y + kernel[:, k] * gated[t + k - reach]
        outputs.append(linear(p, "project", swish(layer_norm(p, "depthwise_norm", y))))
    return torch.stack(outputs)


def part(p: Parameters, name: str) -> Parameters:
    """Parameters of a submodule."""
    return {key[len(name) + 1 :]: value for key, value in p.items() if key.startswith(f"{name}.")}


def conformer_layer(p: Parameters, x: Tensor, mixer: Reference) -> Tensor:
    x = x + feed_forward(part(p, "ffn1"), x) / 2
    x = x + mixer(part(p, "mixer"), torch.stack([layer_norm(p, "mixer_norm", frame) for frame in x]))
    x = x + convolution_module(part(p, "conv"), x)
    x = x + feed_forward(part(p, "ffn2"), x) / 2
    return torch.stack([layer_norm(p, "norm", frame) for frame in x])


def stacked_energies(energies: Tensor, kernel_sizes: list[int], strides: list[int], num_latents: int) -> Tensor:
    """(T0, bins) energies of one clip -> (T, frames * bins): for each latent the middle of the frames that it hears."""
    heard = [[t] for t in range(len(energies))]
    for kernel_size, stride in zip(kernel_sizes, strides):
        starts = range(0, len(heard) - kernel_size + 1, stride)
        heard = [sorted({t for window in heard[s : s + kernel_size] for t in window}) for s in starts]
    assert len(heard) == num_latents
    rows = []
    for window in heard:
        frames = list(range(window[0], window[-1] + 1))
        wanted = max(4, math.prod(strides))
        while len(frames) > wanted:  # one off the end, one off the beginning, and so on
            frames = frames[:-1] if (len(frames) - wanted) % 2 else frames[1:]
        rows.append(torch.cat([energies[t] for t in frames]))
    return torch.stack(rows)


def nearest_entry(frame: Tensor, projection: Tensor, codebook: Tensor) -> int:
    """Of one stacked frame: the entry of the codebook with the largest cosine to the projected frame."""
    projected = [sum(frame[e] * projection[e, d] for e in range(len(frame))) for d in range(projection.size(1))]
    length = math.sqrt(sum(float(x) ** 2 for x in projected))
    cosines = []
    for entry in codebook.tolist():
        product = sum(float(x) * y for x, y in zip(projected, entry))
        cosines.append(product / (length * math.sqrt(sum(y * y for y in entry))))
    return cosines.index(max(cosines))


def randomise(module: nn.Module) -> nn.Module:
    """Matrices as they were made, biases, norms and gates away from 0 and 1, so that no term of a formula can hide."""
    for parameter in module.parameters():
        if parameter.dim() <= 1:
            nn.init.normal_(parameter.data, mean=0.5, std=0.5)
    return module


def padding_of(lengths: list[int]) -> Tensor:
    """(B, longest) bool, True = padding."""
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def batch_of(waves: list[np.ndarray], garbage: float = 0.0) -> dict[str, Tensor]:
    """Clips as fairseq's padded ``net_input``, with ``garbage`` in the padding."""
    padding_mask = padding_of([len(wave) for wave in waves])
    source = torch.full(padding_mask.shape, garbage)
    source[~padding_mask] = torch.from_numpy(np.concatenate(waves))
    return {"source": source, "padding_mask": padding_mask}


def assert_near(actual: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Largest difference below ``tolerance``, in units of the largest expected value where that is above 1."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} is not {tuple(expected.shape)}"
    scale = max(1.0, expected.abs().max().item())
    difference = (actual.double() - expected.double()).abs().max().item()
    assert difference <= tolerance * scale, f"{what}: off by {difference:.1e} at scale {scale:.1f}"


def assert_equals_reference(
    module: nn.Module,
    reference: Reference,
    lengths: list[int],
    dim: int,
    dtype: torch.dtype,
    tolerance: float,
    takes_padding: bool = True,
    x: Tensor | None = None,
) -> None:
    """Outputs and all gradients of ``module`` on a padded batch against ``reference`` on each utterance, in float64.

    With clips of one length the module gets no padding mask. Padded frames hold large values.
    """
    module = module.to(dtype)
    padding = padding_of(lengths)
    if x is None:
        x = torch.randn(*padding.shape, dim, dtype=dtype).masked_fill(padding[..., None], 1e3)
    x = x.detach().to(dtype).requires_grad_()
    mask = padding if takes_padding and padding.any() else None
    y = module(x, mask) if takes_padding else module(x)
    direction = torch.randn(y.shape, dtype=torch.float64).masked_fill(padding[..., None], 0.0)
    names, parameters = zip(*module.named_parameters())
    gradients = torch.autograd.grad((y * direction.to(dtype)).sum(), [x, *parameters])

    p = {name: value.detach().double().requires_grad_() for name, value in zip(names, parameters)}
    x_plain = x.detach().double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(lengths):
        if length:
            expected = reference(p, x_plain[b, :length])
            assert_near(y[b, :length], expected, tolerance, f"output of utterance {b}")
            total = total + (expected * direction[b, :length]).sum()
    expected_gradients = torch.autograd.grad(total, [x_plain, *p.values()])
    for name, actual, expected in zip(["input", *names], gradients, expected_gradients):
        assert_near(actual, expected, tolerance, f"gradient of {name}")
