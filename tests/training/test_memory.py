"""The memory of an update on a CPU: the count beside what the system says, and the warning."""

from __future__ import annotations

import copy
import ctypes
from pathlib import Path

import pytest
import torch
from trainers import trainer_of

from summarymixing_fairseq.benchmarks.recipe import noise_batch, train_step
from summarymixing_fairseq.system import machine
from summarymixing_fairseq.system.machine import free_memory
from summarymixing_fairseq.tasks import watched_task
from summarymixing_fairseq.training.watch.memory import bytes_of_update

SECOND = 16_000
CONTAINERS_LIMIT = "/sys/fs/cgroup/memory.max"


class Batches(list):
    """fairseq's batches of an epoch, as far as the start of a run looks at them."""

    next_epoch_idx = 1

    def __init__(self, number: int) -> None:
        super().__init__([None] * number)


def resident_kib(name: str) -> int:
    """This process's memory: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system counts no peak of memory")
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ([], 0.3),
        (["model.mixer=mhsa", "model.encoder_attention_heads=4"], 0.3),
        (["+model.recompute=cheap"], 0.5),  # the heap has gaps of what was freed and is made again
        (["+model.recompute=layer"], 0.5),
    ],
    ids=["none", "mhsa", "cheap", "layer"],
)
def test_the_count_is_near_what_the_system_says(options, tolerance, tmp_path):
    sizes = ["model.encoder_embed_dim=128", "model.encoder_ffn_embed_dim=512", "model.frontend_channels=128"]
    trainer = trainer_of(tmp_path, *sizes, *options)
    counted = bytes_of_update(trainer.get_model().train(), 60 * SECOND, 4 * SECOND)
    ctypes.CDLL(None).malloc_trim(0)
    before = resident_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train_step(trainer, noise_batch(6, 10 * SECOND))
    measured = (resident_kib("VmHWM") - before) * 1024
    assert measured > 100 * 2**20
    assert counted == pytest.approx(measured, rel=tolerance)


def test_what_exceeds_the_memory_is_warned_of_once(tmp_path, monkeypatch, caplog):
    trainer, state, batches = trainer_of(tmp_path), torch.get_rng_state(), Batches(7)
    for free, warnings in ((2**40, 0), (2**20, 1)):
        monkeypatch.setattr(watched_task, "free_memory", lambda free=free: free)
        trainer.task._trainer = None
        trainer.task.begin_run(trainer, batches)
        trainer.task.begin_run(trainer, batches)
        assert [record.levelname for record in caplog.records if record.levelname != "INFO"] == ["WARNING"] * warnings
    assert "GiB of memory and 0 GiB are free" in caplog.text and "dataset.max_tokens=320000" in caplog.text
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_all_processes_of_the_machine_count(tmp_path, monkeypatch):
    trainer = trainer_of(tmp_path)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    alone, _ = trainer.task._memory(trainer)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")  # torchrun's
    assert trainer.task._memory(trainer)[0] == 8 * alone > 0


@pytest.mark.parametrize("projection", ["random", "pca"])
def test_counting_teaches_the_model_nothing(projection, tiny_model):
    """BEST-RQ counts its codes and finds its projection in passing: it would find that of noise."""
    options = {"codebook_size": 8, "projection": projection}
    model = tiny_model(objective="bestrq", objective_options=options).train()
    before = copy.deepcopy(model.state_dict())
    bytes_of_update(model, 4 * SECOND, 4 * SECOND)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model(source=torch.randn(1, 4 * SECOND), padding_mask=None)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("limit", "free"), [("500000", 500_000), ("max", 1_024_000), (None, 1_024_000)])
def test_free_memory_is_the_systems_or_the_containers(limit, free, tmp_path, monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 3000 kB\nMemAvailable: 1000 kB\n", CONTAINERS_LIMIT: limit}
    places = {name: tmp_path / Path(name).name for name in files}
    for name, text in files.items():
        if text is not None:
            places[name].write_text(text)
    monkeypatch.setattr(machine, "open", lambda path, **options: places[path].open(**options), raising=False)
    assert free_memory() == free
