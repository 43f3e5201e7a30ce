"""How often the host waits for a GPU in an update: once, whatever the number of batches."""

from __future__ import annotations

import copy
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from fairseq.logging import metrics
from fake_gpu import CPU, GPU, FakeGpu, OnGpu, move_to_fake_gpu
from pipeline import ROOT, TINY_MODEL

from summarymixing_fairseq.benchmarks.recipe import build_trainer, noise_batch, read_recipe
from summarymixing_fairseq.modules.mixing import MIXERS, build_mixer
from summarymixing_fairseq.system.transfers import read_numbers, to_device
from summarymixing_fairseq.training.criterion import PretrainingCriterion
from summarymixing_fairseq.training.wav2vec_criterion import LazyWav2vecCriterion

LOG_KEYS = ["prob_perplexity", "code_perplexity", "temp"]


def trainer_of(folder, *overrides: str, cpu: bool = True, recipe: str = "base"):
    options = [*TINY_MODEL, f"common.cpu={str(cpu).lower()}", "common.amp=false", f"checkpoint.save_dir={folder}"]
    options += ["distributed_training.distributed_world_size=1", "task.data=x", *overrides]
    return build_trainer(read_recipe(ROOT / f"examples/pretraining/{recipe}.yaml", options))


def batch(first_id: int = 0) -> dict:
    """Three clips, the second shorter than the others."""
    made = noise_batch(3, 24_000)
    made["net_input"]["padding_mask"][1, 20_000:] = True
    return {**made, "id": made["id"] + first_id, "num_samples": [24_000, 20_000, 24_000]}


def pinned(value):
    """As torch's data loader hands a batch to fairseq."""
    if isinstance(value, dict):
        return {name: pinned(item) for name, item in value.items()}
    return value.pin_memory() if torch.is_tensor(value) else value


def moved(trainer):
    """A trainer whose model lies on the fake GPU."""
    move_to_fake_gpu(trainer.model)
    assert trainer.optimizer  # it is built at first use, and then asks what GPU there is
    trainer.cuda = True
    return trainer


# the tool


@pytest.mark.parametrize(
    ("operation", "waits"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool(x.sum() > 0), 1),
        (lambda x: float(x[0]), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x[torch.tensor([0, 1])], 1),
        (lambda x: x.copy_(torch.ones(3)), 1),
        (lambda x: torch.ones(3).copy_(x), 1),
        (lambda x: x.new_tensor(100), 1),
        (lambda x: torch.tensor([1.0], device=x.device), 1),
        (lambda x: torch.ones(3).to(x.device), 1),
        (lambda x: torch.ones(3).to(x.device, non_blocking=True), 1),
        (lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True), 0),
        (lambda x: to_device(torch.ones(3), x.device) + to_device(x, x.device), 0),
        (lambda x: (x * 2 + torch.ones(3, device=x.device)).to(torch.float64).softmax(0), 0),
        (lambda x: x[x.argmax(keepdim=True)] + x[:2].sum() + torch.tensor(3.0), 0),
    ],
)
def test_the_fake_gpu_counts_where_the_host_waits(operation, waits):
    with FakeGpu() as gpu:
        x = OnGpu(torch.arange(3.0))
        operation(x)
    assert sum(gpu.waits.values()) == waits, gpu.waits
    assert all("test_synchronisations.py:" in place for place in gpu.waits)


def test_the_fake_gpu_is_one():
    with FakeGpu():
        weight = torch.nn.Parameter(OnGpu(torch.arange(3.0)))
        y = weight.square().sum()
        y.backward()
        assert y.device == weight.grad.device == GPU and y.cpu().device == CPU
        assert weight.grad.tolist() == [0.0, 2.0, 4.0]
        with pytest.raises(RuntimeError, match="tensors of both"):
            weight + torch.ones(3)


# what is counted


@pytest.mark.parametrize(
    ("num_batches", "recipe", "overrides"),
    [
        (1, "base", ()),
        (3, "base", ()),
        (
            3,
            "base",
            (
                "model.mixer=mhsa",
                "model.checkpoint_activations=true",
                "model.targets=filterbank",
                "model.objective_options.feature_penalty=true",
                "criterion.loss_weights=[0.1,10]",
            ),
        ),
        (
            3,
            "base",
            (
                "model.summary_mode=lite",
                "+model.mask_channel_prob=0.2",
                "+model.mask_channel_length=4",
                "criterion.loss_weights=null",
            ),
        ),
        (3, "base_bestrq", ("model.objective_options.codebook_size=64", "model.objective_options.projection=pca")),
    ],
    ids=["one batch", "summarymixing", "mhsa", "lite", "bestrq"],
)
def test_an_update_waits_once(tmp_path, recipe, overrides, num_batches):
    """For the norm and all that is logged. The numbers are those of a CPU."""
    metrics.reset()  # fairseq's meters are the process's, and those of the criteria are not of one kind
    batches = [batch(3 * number) for number in range(num_batches)]
    of_cpu, of_gpu = [], []
    with metrics.aggregate(new_root=True):
        trainer = trainer_of(tmp_path, *overrides, recipe=recipe)
        of_cpu.extend(trainer.train_step(batches) for _ in range(2))
    with metrics.aggregate(new_root=True), FakeGpu() as gpu:
        trainer = moved(trainer_of(tmp_path, *overrides, recipe=recipe))
        for update in range(2):
            gpu.waits.clear()
            of_gpu.append(trainer.train_step([pinned(made) for made in batches]))
            # the first moves the filterbank's window and filters
            assert update == 0 or sum(gpu.waits.values()) == 1, gpu.waits
    for plain, logged in zip(of_cpu, of_gpu):
        assert plain.keys() == logged.keys() and {"loss", "accuracy", "masked", "padding"} <= plain.keys()
        for name in plain.keys() - {"data_wait"}:
            assert logged[name] == pytest.approx(plain[name], rel=1e-3, abs=2e-3), name


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_no_mixer_waits(name):
    mixer = build_mixer(name, embed_dim=16, dropout=0.1)
    with FakeGpu() as gpu:
        move_to_fake_gpu(mixer)
        x = OnGpu(torch.randn(2, 200, 16)).requires_grad_()
        padding = OnGpu(torch.arange(200) >= torch.tensor([[200], [130]]))
        mixer(x, padding).sum().backward()
    assert not gpu.waits and x.grad.device == GPU


def test_a_batch_of_validation_waits_once(tmp_path):
    trainer = trainer_of(tmp_path)
    with FakeGpu() as gpu, metrics.aggregate(new_root=True):
        moved(trainer)
        for _ in range(2):
            gpu.waits.clear()
            logged = trainer.valid_step(pinned(batch()))
    assert sum(gpu.waits.values()) == 1, gpu.waits
    assert math.isfinite(logged["loss"]) and 0 <= logged["accuracy"] <= 1


def test_a_nan_on_a_gpu_is_explained(tmp_path, caplog):
    trainer = trainer_of(tmp_path)
    with FakeGpu(), metrics.aggregate(new_root=True):
        moved(trainer)
        seen = []

        def spoil(module, inputs, output):
            seen.append(1)
            return output * math.nan if len(seen) != 1 else output  # not the first batch

        trainer.get_model().encoder.layers[1].conv.register_forward_hook(spoil)
        with pytest.raises(FloatingPointError, match="gradients are Nan/Inf"):
            trainer.train_step([pinned(batch()), pinned(batch(30))])
    (record,) = [record for record in caplog.records if "the loss is" in record.getMessage()]
    assert "update 1: the loss is nan; the first module with an output that is not finite is" in record.getMessage()
    assert "encoder.layers.1.conv; utterances 30, 31, 32." in record.getMessage()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_batches", [1, 3])
def test_an_update_waits_once_by_torchs_own_count(tmp_path, num_batches):
    trainer = trainer_of(tmp_path, cpu=False)
    with metrics.aggregate(new_root=True):
        for _ in range(2):
            trainer.train_step([pinned(batch())])
        batches = [pinned(batch()) for _ in range(num_batches)]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                trainer.train_step(batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [f"{w.filename}:{w.lineno}" for w in caught if "synchronizing CUDA operation" in str(w.message)]
    assert len(waits) == 1, waits


# the criterions


def results(criterion, model, sample) -> tuple:
    """Loss, targets, numbers and gradients, with the same random numbers for all."""
    torch.manual_seed(3)
    model = copy.deepcopy(model)
    with torch.set_grad_enabled(model.training):
        loss, sample_size, logged = criterion(model, sample)
    if model.training:
        (loss / sample_size).backward()
    read_numbers([logged])
    return loss, sample_size, logged, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("loss_weights", [None, [0.1], [0.0]])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_criterion_is_fairseqs_to_the_digit(tiny_model, loss_weights, training, dtype):
    model = tiny_model().train(training).to(dtype)
    keys = [*LOG_KEYS, "num_vars", "logits", "target", "not there"]
    found = []
    for criterion_class in (Wav2vecCriterion, LazyWav2vecCriterion):
        criterion = criterion_class(None, infonce=True, loss_weights=loss_weights, log_keys=keys).train(training)
        found.append(results(criterion, model, batch()))
    (loss, sample_size, logged, gradients), (our_loss, our_size, our_logged, our_gradients) = found
    assert torch.equal(loss, our_loss) and sample_size == our_size and list(logged) == list(our_logged)
    for name, value in logged.items():
        if name in ("logits", "target"):
            assert (value == our_logged[name]).all() and not training
        else:
            assert value == our_logged[name] and type(value) is type(our_logged[name]), name
    assert {"loss", "correct", "count", "temp", "num_vars"} <= set(logged) and "not there" not in logged
    assert ("loss_1" in logged) == (loss_weights == [0.1])
    for gradient, ours in zip(gradients, our_gradients):
        assert (gradient is None and ours is None) or torch.equal(gradient, ours)


def test_the_criterion_takes_as_many_weights_as_there_are_losses(tiny_model):
    criterion = LazyWav2vecCriterion(None, infonce=True, loss_weights=[0.1, 0.2])
    with pytest.raises(ValueError, match="the model has 1 extra losses"):
        criterion(tiny_model(), batch())


def test_what_each_criterion_costs(tiny_model):
    """fairseq's seven, and none."""
    model = tiny_model().train()
    counts = []
    with FakeGpu() as gpu:
        move_to_fake_gpu(model)
        sample = {**batch(), "net_input": {**batch()["net_input"], "num_samples": batch()["num_samples"]}}
        for name in ("source", "padding_mask"):
            sample["net_input"][name] = OnGpu(sample["net_input"][name])
        model(**sample["net_input"])  # moves the filterbank
        for criterion_class in (Wav2vecCriterion, LazyWav2vecCriterion):
            gpu.waits.clear()
            criterion_class(None, infonce=True, loss_weights=[0.1], log_keys=LOG_KEYS[:2])(model, sample)
            counts.append(sum(gpu.waits.values()))
    assert counts == [7, 0]


def test_the_criterion_of_other_objectives_waits_for_nothing():
    with FakeGpu() as gpu:
        distance = OnGpu(torch.tensor(6.0)).requires_grad_()
        output = {"loss": distance * 2, "sample_size": 4, "logged": {"distance": distance, "correct": 3.0 * distance}}
        loss, sample_size, logged = PretrainingCriterion(SimpleNamespace(), None)(
            lambda **_: output, {"net_input": {}, "id": torch.arange(2)}
        )
        assert not gpu.waits and loss.requires_grad and not logged["distance"].requires_grad
        read_numbers([logged])
        assert sum(gpu.waits.values()) == 1
    expected = {"loss": 12.0, "ntokens": 4, "nsentences": 2, "sample_size": 4, "distance": 6.0}
    assert logged == {**expected, "correct": 18.0, "count": 4}


def test_the_task_puts_its_own_in_the_place_of_fairseqs(tmp_path):
    trainer = trainer_of(tmp_path)
    criterion = trainer.get_criterion()
    assert type(criterion) is LazyWav2vecCriterion and trainer.cfg.criterion._name == "wav2vec"
    assert criterion.loss_weights == [0.1] and set(LOG_KEYS) <= set(criterion.log_keys)


def test_numbers_are_read_exactly():
    values = {
        "float": torch.tensor(1 / 3),
        "half": torch.tensor(1 / 3, dtype=torch.bfloat16),
        "double": torch.tensor(1 / 3, dtype=torch.float64),
        "count": torch.tensor(2**40 + 1),
        "nan": torch.tensor(math.nan),
    }
    read, vector = dict(values), torch.ones(2)
    read.update(name="text", vector=vector, number=3)
    read_numbers([read, {}])
    for name, value in values.items():
        assert type(read[name]) is type(value.item())
        assert read[name] == value.item() or name == "nan" and math.isnan(read[name])
    assert read["vector"] is vector and read["name"] == "text" and read["number"] == 3
