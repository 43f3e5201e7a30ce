"""What the contrastive objective quantizes, and the penalty on the size of the latents."""

from __future__ import annotations

import pytest
import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from reference import assert_near, batch_of, stacked_energies

from summarymixing_fairseq.modules.filterbank import LogMelFilterbank


@pytest.fixture
def batch(speech) -> dict:
    return batch_of(speech[:2], garbage=9.0)


def gradient_by_the_targets(model, batch: dict) -> torch.Tensor | None:
    """Gradient of the front end's first convolution where the encoder is cut off, so that only targets are left."""
    seen = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(1) or (output[0].detach(), []))
    model.get_logits(model(**batch)).logsumexp(-1).sum().backward()
    assert seen
    return model.feature_extractor.blocks[0].conv.weight.grad


@pytest.mark.parametrize("targets", ["latents", "detached", "filterbank"])
def test_only_latents_get_a_gradient_from_the_quantizer(tiny_model, batch, targets):
    gradient = gradient_by_the_targets(tiny_model(targets=targets).train(), batch)
    assert (gradient is not None) == (targets == "latents") and (gradient is None or gradient.abs().max() > 0)
    model = tiny_model(targets=targets).train()
    model.get_logits(model(**batch)).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():  # by the encoder all learn
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_detached_targets_are_those_of_the_latents(tiny_model, batch):
    found = []
    for targets in ("latents", "detached"):
        torch.manual_seed(1)
        model = tiny_model(targets=targets)
        torch.manual_seed(2)
        found.append(model(**batch)["x"])
    assert torch.equal(*found)


def test_the_filterbank_is_quantized_as_loops_stack_it(tiny_model, batch, speech):
    model = tiny_model(targets="filterbank", frontend_kernel_sizes=[4, 3], frontend_strides=[2, 3])
    seen = []
    model.objective.quantizer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    frames = [int(n) for n in model.feature_extractor.output_lengths(torch.tensor([len(w) for w in speech[:2]]))]
    mask = torch.zeros(2, max(frames), dtype=torch.bool)
    mask[0, [0, 3, frames[0] - 1]] = mask[1, [1, 2, frames[1] - 1]] = True
    model(**batch, mask_indices=mask)
    for row, wave in enumerate(speech[:2]):
        energies = LogMelFilterbank()(torch.from_numpy(wave)[None])[0]
        energies = (energies - energies.mean(0)) / (energies.std(0, correction=0) + 1e-5)
        expected = stacked_energies(energies, [4, 3], [2, 3], frames[row])
        assert_near(seen[0][row], expected[mask[row, : frames[row]]], 1e-4)


def test_half_precision_takes_the_filterbank(tiny_model, batch):
    model = tiny_model(targets="filterbank").bfloat16()
    assert torch.isfinite(model(**batch)["x"][..., 0]).all()


def test_feature_penalty_is_the_second_extra_loss(tiny_model, batch, speech):
    """Mean square over valid frames and channels of what the last norm of the front end gets."""
    model = tiny_model(objective_options={"feature_penalty": True}, feature_grad_mult=0.5).train()
    squares = []
    for wave in speech[:2]:
        waveform = torch.from_numpy(wave)[None]
        squares.append(model.feature_extractor(waveform, torch.tensor([len(wave)])).before_norm.double().square())
    expected = torch.cat([square[0] for square in squares]).mean()
    net_output = model(**batch)
    diversity, penalty = model.get_extra_losses(net_output)
    assert_near(penalty, expected, 1e-5)
    weight = model.feature_extractor.blocks[1].norm.weight
    (gradient,) = torch.autograd.grad(penalty, weight)
    (twice,) = torch.autograd.grad(expected, weight)  # as in fairseq, feature_grad_mult holds for the penalty too
    assert_near(gradient, twice / 2, 1e-4)

    sample = {"net_input": batch, "id": torch.arange(2)}
    losses = []
    for weights in ([0.1, 0.0], [0.1, 10.0]):
        torch.manual_seed(5)
        loss, sample_size, _ = Wav2vecCriterion(None, infonce=True, loss_weights=weights)(model, sample)
        losses.append(loss)
    assert_near((losses[1] - losses[0]) / sample_size, 10 * expected, 1e-4)
    assert len(tiny_model().get_extra_losses(tiny_model()(**batch))) == 1
