"""The probe heads in eval mode as plain loops over frames and channels. Nothing here is taken from the package."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from reference import Parameters, assert_near, linear, padding_of, part, randomise, relu, swish
from torch import Tensor, nn

HeadReference = Callable[[Parameters, Tensor], Tensor]


def batch_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Of one vector, by running statistics."""
    standardised = (x - p[f"{name}.running_mean"]) / (p[f"{name}.running_var"] + 1e-5).sqrt()
    return standardised * p[f"{name}.weight"] + p[f"{name}.bias"]


def root(variance: Tensor) -> Tensor:
    """A channel that a ReLU keeps at zero has no deviation: the floor is the only thing to derive there."""
    return variance.clamp(min=1e-10).sqrt()


def mean_std(frames: list[Tensor]) -> Tensor:
    mean = sum(frames) / len(frames)
    variance = sum((frame - mean) ** 2 for frame in frames) / len(frames)
    return torch.cat([mean, root(variance)])


def attentive_statistics(p: Parameters, x: Tensor) -> Tensor:
    """Equations 1 to 4 of ECAPA-TDNN, W applied to the concatenation [h_t; mean; std], channel by channel."""
    w = torch.cat([p["frame.weight"], p["context.weight"]], dim=1)
    context = mean_std(list(x))
    scores = []
    for frame in x:
        hidden = torch.tanh(w @ torch.cat([frame, context]) + p["frame.bias"])
        scores.append(linear(p, "score", hidden))
    means, deviations = [], []
    for c in range(x.size(1)):
        exponentials = [torch.exp(score[c]) for score in scores]
        weights = [e / sum(exponentials) for e in exponentials]
        mean = sum(a * frame[c] for a, frame in zip(weights, x))
        means.append(mean)
        deviations.append(root(sum(a * (frame[c] - mean) ** 2 for a, frame in zip(weights, x))))
    return torch.stack(means + deviations)


def leaky_relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def tdnn_layer(
    p: Parameters, frames: list[Tensor], dilation: int, same: bool, activation: Callable = relu
) -> list[Tensor]:
    """Frame t sees t - reach, ..., t + reach; beyond both ends are zeros (same), or there is no frame t."""
    weight = p["conv.weight"]  # (D', D, K)
    reach = dilation * (weight.size(2) - 1) // 2
    outputs = []
    for t in range(len(frames)) if same else range(reach, len(frames) - reach):
        y = p["conv.bias"]
        for k in range(weight.size(2)):
            seen = t + k * dilation - reach
            if 0 <= seen < len(frames):
                y = y + weight[:, :, k] @ frames[seen]
        outputs.append(batch_norm(p, "norm", activation(y)))
    return outputs


def squeeze_excitation(p: Parameters, frames: list[Tensor], activation: Callable) -> list[Tensor]:
    mean = sum(frames) / len(frames)
    gate = 1 / (1 + torch.exp(-linear(p, "excite", activation(linear(p, "squeeze", mean)))))
    return [frame * gate for frame in frames]


def se_res2_block(p: Parameters, frames: list[Tensor], dilation: int, scale: int) -> list[Tensor]:
    x = tdnn_layer(part(p, "before"), frames, 1, True)
    groups = [[frame.chunk(scale)[g] for frame in x] for g in range(scale)]
    outputs = [groups[0]]
    for g in range(1, scale):
        inputs = groups[g] if g == 1 else [a + b for a, b in zip(groups[g], outputs[-1])]
        outputs.append(tdnn_layer(part(p, f"groups.{g - 1}"), inputs, dilation, True))
    y = [torch.cat([group[t] for group in outputs]) for t in range(len(x))]
    y = squeeze_excitation(part(p, "squeeze_excitation"), tdnn_layer(part(p, "after"), y, 1, True), activation=relu)
    return [a + b for a, b in zip(frames, y)]


def cosines(p: Parameters, name: str, x: Tensor) -> Tensor:
    rows = p[f"{name}.weight"]
    return torch.stack([(row * x).sum() / (row**2).sum().sqrt() / (x**2).sum().sqrt() for row in rows])


def ecapa_embedding(p: Parameters, x: Tensor, scale: int) -> Tensor:
    stem = tdnn_layer(part(p, "stem"), list(x), 1, True)
    block1 = se_res2_block(part(p, "blocks.0"), stem, 2, scale)
    block2 = se_res2_block(part(p, "blocks.1"), [a + b for a, b in zip(stem, block1)], 3, scale)
    block3 = se_res2_block(part(p, "blocks.2"), [a + b + c for a, b, c in zip(stem, block1, block2)], 4, scale)
    aggregated = [relu(linear(p, "aggregate", torch.cat(frames))) for frames in zip(block1, block2, block3)]
    pooled = attentive_statistics(part(p, "pool"), torch.stack(aggregated))
    return batch_norm(p, "embedding_norm", linear(p, "embedding", batch_norm(p, "pool_norm", pooled)))


def xvector_embedding(p: Parameters, x: Tensor, activation: Callable = relu) -> Tensor:
    frames = list(x)
    for i, dilation in enumerate([1, 2, 3, 1, 1]):
        frames = tdnn_layer(part(p, f"frame_layers.{i}"), frames, dilation, False, activation)
    return linear(p, "segment6", mean_std(frames))


def xvector(p: Parameters, x: Tensor, activation: Callable = relu, classify: Callable = linear) -> Tensor:
    segment6 = batch_norm(p, "classifier.1", activation(xvector_embedding(p, x, activation)))
    segment7 = batch_norm(p, "classifier.4", activation(linear(p, "classifier.2", segment6)))
    return classify(p, "classifier.5", segment7)


def separable_conv(p: Parameters, frames: list[Tensor]) -> list[Tensor]:
    taps = p["depthwise.weight"][:, 0]  # (D, K)
    reach = taps.size(1) // 2
    outputs = []
    for t in range(len(frames)):
        y = p["depthwise.bias"]
        for k in range(taps.size(1)):
            if 0 <= t + k - reach < len(frames):
                y = y + taps[:, k] * frames[t + k - reach]
        outputs.append(swish(batch_norm(p, "norm", p["pointwise.weight"] @ y)))
    return outputs


def contextnet_block(p: Parameters, frames: list[Tensor], num_convs: int, residual: bool) -> list[Tensor]:
    y = frames
    for i in range(num_convs):
        y = separable_conv(part(p, f"convs.{i}"), y)
    y = squeeze_excitation(part(p, "squeeze_excitation"), y, activation=swish)
    if not residual:
        return y
    return [swish(a + batch_norm(p, "project_norm", p["project.weight"] @ b)) for a, b in zip(y, frames)]


def contextnet(p: Parameters, x: Tensor) -> Tensor:
    frames = contextnet_block(part(p, "blocks.0"), list(x), 1, False)
    for i in range(1, 22):
        frames = contextnet_block(part(p, f"blocks.{i}"), frames, 5, True)
    frames = contextnet_block(part(p, "blocks.22"), frames, 1, False)
    return torch.stack([linear(p, "output", frame) for frame in frames])


def lstm_direction(p: Parameters, suffix: str, frames: list[Tensor]) -> list[Tensor]:
    """Gates in torch's order: input, forget, cell, output."""
    hidden_dim = p[f"weight_hh_{suffix}"].size(1)
    hidden = cell = frames[0].new_zeros(hidden_dim)
    outputs = []
    for frame in frames:
        gates = p[f"weight_ih_{suffix}"] @ frame + p[f"bias_ih_{suffix}"]
        i, f, g, o = (gates + p[f"weight_hh_{suffix}"] @ hidden + p[f"bias_hh_{suffix}"]).chunk(4)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        outputs.append(hidden)
    return outputs


def bilstm(p: Parameters, x: Tensor, num_layers: int) -> list[Tensor]:
    frames = list(x)
    for layer in range(num_layers):
        forward = lstm_direction(p, f"l{layer}", frames)
        backward = lstm_direction(p, f"l{layer}_reverse", frames[::-1])[::-1]
        frames = [torch.cat(pair) for pair in zip(forward, backward)]
    return frames


def bilstm_ctc(p: Parameters, x: Tensor, num_layers: int) -> Tensor:
    return torch.stack([linear(p, "output", y) for y in bilstm(part(p, "encoder.lstm"), x, num_layers)])


def bilstm_mean(p: Parameters, x: Tensor, num_layers: int) -> Tensor:
    """Linear layer, then the mean, in the order of the paper."""
    frames = [linear(p, "project", y) for y in bilstm(part(p, "encoder.lstm"), x, num_layers)]
    return p["output.weight"] @ (sum(frames) / len(frames)) + p.get("output.bias", 0.0)


def linear_ctc(p: Parameters, x: Tensor) -> Tensor:
    return torch.stack([linear(p, "output", frame) for frame in x])


def sigmoids_ctc(p: Parameters, x: Tensor) -> Tensor:
    return torch.stack([linear(p, "output", 1 / (1 + torch.exp(-linear(p, "hidden", frame)))) for frame in x])


def mean_linear(p: Parameters, x: Tensor) -> Tensor:
    return linear(p, "output", sum(x) / len(x))


def trained(head: nn.Module, input_dim: int) -> nn.Module:
    """In eval mode, biases and norms away from their start, running statistics as two batches left them."""
    randomise(head)
    head.train()
    for _ in range(2):
        head(torch.randn(6, 20, input_dim) * 2 + 1)
    return head.eval()


def assert_head_equals_reference(
    head: nn.Module, reference: HeadReference, lengths: list[int], input_dim: int, dtype: torch.dtype, tolerance: float
) -> None:
    """Outputs and all gradients of a head in eval mode on a padded batch against ``reference`` clip by clip.

    Padded frames hold NaN; their gradient must be zero.
    """
    head = head.to(dtype)
    padding = padding_of(lengths)
    x = torch.randn(*padding.shape, input_dim, dtype=dtype).masked_fill(padding[..., None], math.nan)
    x.requires_grad_()
    y = head(x, padding if padding.any() else None)
    frame_level = y.dim() == 3
    direction = torch.randn(y.shape, dtype=torch.float64)
    if frame_level:
        direction = direction.masked_fill(padding[..., None], 0.0)
    names, parameters = zip(*head.named_parameters())
    gradients = torch.autograd.grad((y * direction.to(dtype)).sum(), [x, *parameters])

    p = {name: buffer.double() for name, buffer in head.named_buffers()}
    p.update((name, value.detach().double().requires_grad_()) for name, value in zip(names, parameters))
    x_plain = x.detach().double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(lengths):
        expected = reference(p, x_plain[b, :length])
        here = (b, slice(length)) if frame_level else b
        assert_near(y[here], expected, tolerance, f"output of clip {b}")
        total = total + (expected * direction[here]).sum()
    expected_gradients = torch.autograd.grad(total, [x_plain, *[p[name] for name in names]])
    for name, actual, expected in zip(["input", *names], gradients, expected_gradients):
        assert_near(actual, expected, tolerance, f"gradient of {name}")
