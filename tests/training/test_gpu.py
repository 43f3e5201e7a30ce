"""What only a GPU shows. Skipped without one: `pytest -m gpu`."""

from __future__ import annotations

import copy
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from mixers import small_mixer
from pipeline import BIN, ROOT, TINY_MODEL
from reference import assert_near, padding_of, randomise
from training.conftest import load

from summarymixing_fairseq.benchmarks.recipe import build_trainer, noise_batch, read_recipe, train_step
from summarymixing_fairseq.benchmarks.suite import update
from summarymixing_fairseq.models.encoder import build_encoder
from summarymixing_fairseq.models.stream import StreamStep
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.modules.contrastive import info_nce_logits, sample_negatives
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank
from summarymixing_fairseq.modules.mixing import MIXERS, OPTIONS
from summarymixing_fairseq.modules.quantizer import ProductQuantizer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

DEVICE = "cuda"
DIM = 64
# how far a mean over many numbers may be from float64's, as a share of their size; the gradients of weights that only
# decide where a softmax looks are small differences of large numbers
TOLERANCES = {"float32": 1e-4, "tf32": 5e-3, "bfloat16": 0.2, "float16": 6e-2}
RECIPE = ROOT / "examples/pretraining/quickstart_contrastive.yaml"
# a full rate from the first update on, so that a few of them move the weights
WARM = "lr_scheduler.warmup_updates=1"
STREAMING = sorted(name for name in MIXERS if OPTIONS[name]().streams())
every_mixer = pytest.mark.parametrize("mixer", sorted(MIXERS))


def of_mixer(name: str) -> list[str]:
    """Overrides; the recipe's number of heads does not divide the tiny model's width."""
    return [f"model.mixer={name}", "model.encoder_attention_heads=4"]


def in_precision(precision: str):
    """The context of a forward pass."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    return torch.autocast(DEVICE, dtype) if dtype else torch.autocast(DEVICE, enabled=False)


@pytest.fixture
def tf32(precision, monkeypatch):
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    yield
    torch.backends.cuda.matmul.allow_tf32 = False


def assert_close_on_average(actual, expected, precision, name=""):
    error = (actual.double().cpu() - expected).abs().mean() / expected.abs().mean().clamp(min=1e-6)
    assert actual.isfinite().all() and error < TOLERANCES[precision], (name, precision, error.item())


@every_mixer
@pytest.mark.parametrize("precision", list(TOLERANCES))
def test_an_encoder_equals_float64_on_the_cpu(mixer, precision, tf32):
    """Outputs, and gradients of the input and of every weight, of two layers on a padded batch."""
    cfg = read_recipe(RECIPE, [*TINY_MODEL, *of_mixer(mixer), "task.data=x"]).model
    for name in ("dropout", "activation_dropout", "attention_dropout", "encoder_layerdrop"):
        cfg[name] = 0.0
    exact = randomise(build_encoder(cfg)).double()
    encoder = copy.deepcopy(exact).float().to(DEVICE)
    padding = padding_of([300, 170])
    x = torch.randn(2, 300, cfg.encoder_embed_dim).masked_fill(padding[..., None], 0.0)
    direction = torch.randn_like(x).masked_fill(padding[..., None], 0.0)
    wide, narrow = x.double().requires_grad_(), x.to(DEVICE).requires_grad_()
    expected, _ = exact(wide, padding)
    (expected * direction).sum().backward()
    with in_precision(precision):
        actual, _ = encoder(narrow, padding.to(DEVICE))
    (actual.float() * direction.to(DEVICE)).sum().backward()
    assert_close_on_average(actual.detach()[~padding.to(DEVICE)], expected.detach()[~padding], precision)
    assert_close_on_average(narrow.grad, wide.grad, precision)
    for (name, parameter), other in zip(encoder.named_parameters(), exact.parameters()):
        assert_close_on_average(parameter.grad, other.grad, precision, name)


@every_mixer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_padding_has_no_effect(mixer, dtype):
    module = randomise(small_mixer(mixer, DIM, 4)).to(DEVICE).eval()
    lengths = [900, 413, 1]
    padding = padding_of(lengths).to(DEVICE)
    x = torch.randn(3, 900, DIM, device=DEVICE)
    # cuDNN's attention adds -65504 to the scores of padding: enough for what the layer's norm lets through, at most
    # sqrt(D) times its weights, and not for everything that half precision holds
    with torch.autocast(DEVICE, dtype):
        y = module(x.masked_fill(padding[..., None], 100.0), padding)
        for row, length in enumerate(lengths):
            assert_near(y[row, :length].float(), module(x[row : row + 1, :length])[0].float(), 2e-2)


def test_the_objective_equals_the_cpus():
    """Targets of the quantizer without noise, logits, loss and gradients."""
    quantizer = ProductQuantizer(
        dim=16, num_vars=8, temp=(2.0, 0.5, 0.9), groups=2, combine_groups=False, vq_dim=16, time_first=True
    ).eval()
    context, latents = torch.randn(3, 40, 16), torch.randn(3, 40, 16)
    negatives = sample_negatives(3, 40, 20)
    results = []
    for device in ("cpu", DEVICE):
        here = copy.deepcopy(quantizer).to(device)
        c, z = (x.detach().to(device).requires_grad_() for x in (context, latents))
        quantized = here(z, produce_targets=True)
        codes = here.to_codebook_index(quantized["targets"])
        logits = info_nce_logits(c, quantized["x"], codes, negatives.to(device), 0.1)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.zeros(120, dtype=torch.long, device=device), reduction="sum"
        )
        loss.backward()
        results.append([loss.detach().cpu(), c.grad.cpu(), codes.cpu()])
    for actual, expected in zip(*results):
        assert_near(actual.float(), expected.float(), 1e-4)


def make_trainer(folder, *overrides):
    settings = ["distributed_training.distributed_world_size=1", f"checkpoint.save_dir={folder}", "task.data=x"]
    return build_trainer(read_recipe(RECIPE, [*TINY_MODEL, *settings, *overrides]))


def batch(seconds: float = 1.5):
    return noise_batch(2, round(16_000 * seconds))


def losses_of(trainer, num_updates, *batches):
    losses = []
    hook = trainer.get_criterion().register_forward_hook(lambda module, inputs, output: losses.append(output[0].item()))
    for number in range(num_updates):
        train_step(trainer, batches[number % len(batches)])
    hook.remove()
    return losses


QUIET = [f"model.{name}=0" for name in ("dropout", "activation_dropout", "attention_dropout", "dropout_input")]


def test_a_scaled_loss_gives_the_weights_of_an_unscaled_one(tmp_path):
    """fairseq's amp divides by the scale twice, which a CPU does not show."""
    weights = []
    for scale in (None, 128.0, 2.0**15):
        trainer = make_trainer(tmp_path, *QUIET, "common.amp=true", "task.amp_dtype=float32")
        if scale is not None:
            trainer.optimizer._grad_scaler = torch.amp.GradScaler("cuda", init_scale=scale)
        losses_of(trainer, 20, batch())
        weights.append(torch.cat([p.detach().flatten() for p in trainer.get_model().parameters()]))
    for scaled in weights[1:]:
        assert_near(scaled, weights[0], 1e-3)


@every_mixer
def test_half_precision_trains_as_float32_does(mixer, tmp_path):
    runs = {
        setting: losses_of(
            make_trainer(tmp_path, *QUIET, *of_mixer(mixer), "common.amp=true", f"task.amp_dtype={setting}"),
            15,
            batch(),
        )
        for setting in ("float32", "bfloat16", "float16", "auto")
    }
    for losses in runs.values():
        assert losses == pytest.approx(runs["float32"], rel=0.03)


@every_mixer
@pytest.mark.parametrize("setting", ["recompute=cheap", "recompute=layer", "compile_layers=true"])
def test_recomputed_and_compiled_layers_train_alike(mixer, setting, tmp_path):
    amp = ["common.amp=true", *of_mixer(mixer), "model.encoder_layerdrop=0", WARM]
    plain = losses_of(make_trainer(tmp_path, *QUIET, *amp), 6, batch(1.0), batch(1.7))
    other = losses_of(make_trainer(tmp_path, *QUIET, *amp, f"model.{setting}"), 6, batch(1.0), batch(1.7))
    assert other == pytest.approx(plain, rel=2e-2)


@pytest.mark.parametrize("mixer", STREAMING)
def test_chunks_train_alike_recomputed(mixer, tmp_path):
    chunks = ["common.amp=true", *of_mixer(mixer), "model.encoder_layerdrop=0", "model.streaming=true", WARM]
    plain = losses_of(make_trainer(tmp_path, *QUIET, *chunks), 6, batch(1.0), batch(1.7))
    other = losses_of(make_trainer(tmp_path, *QUIET, *chunks, "model.recompute=cheap"), 6, batch(1.0), batch(1.7))
    assert other == pytest.approx(plain, rel=2e-2)


@pytest.mark.parametrize("mixer", STREAMING)
@torch.inference_mode()
def test_a_stream_equals_the_cpus(mixer):
    cfg = read_recipe(RECIPE, [*TINY_MODEL, *of_mixer(mixer), "task.data=x", "model.streaming=true"]).model
    step = StreamStep(randomise(Wav2Vec2SummaryMixingModel(cfg)).eval())
    waveform = 0.1 * torch.randn(1, step.feature_extractor.min_samples(8))
    found = {}
    for device in ("cpu", DEVICE):
        state = step.to(device).first_state()
        found[device] = []
        for heard in range(0, 32, 8):
            x, *state = step(waveform.to(device), torch.tensor(heard, device=device), *state)
            found[device].append(x.cpu())
    for on_gpu, on_cpu in zip(found[DEVICE], found["cpu"]):
        assert_near(on_gpu, on_cpu, 1e-3)


def test_a_nan_is_explained(tmp_path):
    trainer = make_trainer(tmp_path, "common.amp=true")
    losses_of(trainer, 1, batch())
    trainer.get_model().encoder.layers[1].ffn1.register_forward_hook(lambda module, inputs, out: out * math.nan)
    with pytest.raises(FloatingPointError, match=r"update 2: .*encoder\.layers\.1\.ffn1; utterances 0, 1"):
        losses_of(trainer, 1, batch())


def test_clips_of_any_length_share_the_plans_of_cufft():
    filterbank, plans = LogMelFilterbank(), torch.backends.cuda.cufft_plan_cache
    filterbank(torch.zeros(1, 16_000, device=DEVICE))
    before = plans.size
    for length in range(16_000, 160_000, 1_600):
        filterbank(torch.zeros(2, length, device=DEVICE))
    assert plans.size == before


def test_a_benchmark_reads_the_peak_inside_an_update():
    """fairseq's trainer resets it when an update ends: what is left then is weights and optimizer alone."""
    settings = {"config": str(RECIPE), "clips": 24, "precision": "amp", "recompute": "none", "compile": False}
    step = update.build(update.REFERENCE, 10.0, settings, DEVICE)
    step.run()
    torch.cuda.reset_peak_memory_stats()
    step.run()
    assert torch.cuda.max_memory_allocated() > 1.5 * torch.cuda.memory_allocated()


def run_training(arguments, log, *launcher):
    with open(log, "w") as file:
        command = [*launcher, BIN / "fairseq-hydra-train", *arguments]
        status = subprocess.run(
            [*map(str, command)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env={**os.environ}
        ).returncode
    assert status == 0, log.read_text()[-3000:]


def test_a_resumed_run_goes_on_as_the_one_that_was_not_stopped(arguments, tmp_path):
    """Not to the bit: kernels add in any order."""
    several_updates_an_epoch = ["task.max_sample_size=16000", "dataset.max_tokens=48000"]
    options = ["common.cpu=false", "common.amp=true", *several_updates_an_epoch, WARM]
    run_training(arguments(tmp_path / "whole", 6, *options), tmp_path / "log")
    (tmp_path / "half").mkdir()
    saved = min((tmp_path / "whole").glob("checkpoint_1_*.pt"))
    shutil.copy(saved, tmp_path / "half" / "checkpoint_last.pt")
    run_training(arguments(tmp_path / "half", 6, *options), tmp_path / "log")
    whole, half = (load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "half"))
    for name, weight in whole.items():
        torch.testing.assert_close(half[name], weight, rtol=0, atol=1e-3, msg=name)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_two_gpus_equal_one_that_takes_two_batches(arguments, tmp_path):
    options = ["common.cpu=false", "common.amp=true", "task.amp_dtype=float32", WARM]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run_training(arguments(tmp_path / "two", 6, *options), tmp_path / "log", *torchrun)
    one = ["distributed_training.distributed_world_size=1", "optimization.update_freq=[2]"]
    run_training(arguments(tmp_path / "one", 6, *options, *one), tmp_path / "log")
    two, one = (load(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("two", "one"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-3, msg=name)
