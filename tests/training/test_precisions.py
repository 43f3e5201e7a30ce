"""Every precision: a forward and a backward pass, the loss in float32, and no overflow however long the clip."""

from __future__ import annotations

import math

import pytest
import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from mixers import small_mixer
from trainers import trainer_of

from summarymixing_fairseq.benchmarks.recipe import noise_batch, train_step
from summarymixing_fairseq.modules.decay import decayed_mean
from summarymixing_fairseq.modules.mixing.summarymixing import masked_time_mean

HOUR_FRAMES = 180_000
HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("precision", ["fp32", "amp", "bf16"])
@pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])
def test_an_update_by_fairseqs_trainer(precision, mixer, tmp_path):
    """fp16's optimizer asks for CUDA: see the test of the model below."""
    in_half = [] if precision == "fp32" else [f"common.{precision}=true"]
    trainer = trainer_of(tmp_path, f"model.mixer={mixer}", "model.encoder_attention_heads=4", *in_half)
    before = [parameter.detach().clone() for parameter in trainer.get_model().parameters()]
    half = precision == "bf16"
    for _ in range(2):
        train_step(trainer, noise_batch(2, 24_000, torch.float64 if half else torch.float32))
    assert trainer.get_num_updates() == 2
    after = list(trainer.get_model().parameters())
    assert all(bool(torch.isfinite(parameter).all()) for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after))
    assert after[0].dtype == (torch.bfloat16 if half else torch.float32)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])
@pytest.mark.parametrize("mode", ["full", "lite", "expdecay"])
def test_a_half_model_gives_a_float32_loss_and_finite_gradients(tiny_model, dtype, mixer, mode):
    model = tiny_model(mixer=mixer, summary_mode=mode).train().to(dtype)
    batch = noise_batch(2, 24_000, torch.float64)  # as our tasks hand it over
    seen = {}
    model.register_forward_hook(lambda module, inputs, output: seen.update(output))
    criterion = Wav2vecCriterion(None, infonce=True, loss_weights=[0.1], log_keys=[])
    loss, sample_size, _ = criterion(model, batch)
    assert seen["x"].dtype == loss.dtype == torch.float32 and seen["prob_perplexity"].dtype == torch.float32
    (loss / sample_size).backward()
    assert math.isfinite(loss.item())
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("padded", [False, True])
def test_the_mean_of_an_hour_is_accumulated_in_float32(dtype, padded):
    """A sum in float16 would be infinite after 65 frames of 1,000, in bfloat16 it would stand still after 256."""
    x = (1_000 + torch.arange(HOUR_FRAMES) % 7)[None, :, None].expand(2, -1, 4).to(dtype)
    padding_mask = None
    if padded:
        padding_mask = torch.zeros(2, HOUR_FRAMES, dtype=torch.bool)
        padding_mask[1, HOUR_FRAMES // 2 :] = True
    exact = x.double().mean(1)
    mean = masked_time_mean(x, padding_mask)
    assert mean.dtype == dtype
    torch.testing.assert_close(mean.double(), exact, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_the_decaying_mean_of_an_hour(dtype):
    x = torch.full((1, HOUR_FRAMES, 2), 30_000.0).to(dtype)
    mean = decayed_mean(x, None, 0.995)
    torch.testing.assert_close(mean, x, rtol=2 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("mode", ["full", "lite", "expdecay"])
def test_the_cell_on_an_hour_in_float16(mode):
    """Simulated frames of three levels; a LayerNorm stands before the cell, so that 1 is what it meets."""
    cell = small_mixer("summarymixing", 16, num_heads=4, mode=mode).eval()
    half = small_mixer("summarymixing", 16, num_heads=4, mode=mode).eval()
    half.load_state_dict(cell.state_dict())
    half.half()
    for level in (1.0, 100.0, 1_000.0):
        x = (level * torch.randn(1, HOUR_FRAMES, 16)).half()
        with torch.inference_mode():
            y, reference = half(x), cell(x.float())
        assert bool(torch.isfinite(y).all()), level
        # float16 rounds each of four products of such levels; LayerNorm brings the branches back to 1
        assert (y.float() - reference).abs().mean() < 0.02
