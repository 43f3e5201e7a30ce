"""A GPU whose memory is too small for a batch: tried once more, and then told; no batch is left out in silence."""

from __future__ import annotations

import pytest
import torch
from fairseq.trainer import Trainer
from trainers import NOISE, trainer_of

from summarymixing_fairseq.system.errors import InputError

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB.\nMore about it."


def short_of_memory(trainer, times):
    """Its second batch runs out of memory so often; what is filled with the number of batches computed."""
    calls = []

    def fail(module, inputs, output):
        calls.append(1)
        if len(calls) >= 2 and len(calls) < 2 + times:
            raise torch.OutOfMemoryError(MESSAGE)

    trainer.get_model().encoder.register_forward_hook(fail)
    return calls


def test_an_update_is_tried_again_from_its_first_batch(tmp_path):
    plain, short = trainer_of(tmp_path), trainer_of(tmp_path)
    calls = short_of_memory(short, times=1)
    for trainer in (plain, short):
        trainer.train_step([NOISE, NOISE])
        assert trainer.get_num_updates() == 1
    assert len(calls) == 4
    for one, other in zip(plain.get_model().parameters(), short.get_model().parameters()):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("processes", "tried"), [(1, 2), (2, 1)])
def test_the_run_ends_with_what_to_do(tmp_path, monkeypatch, processes, tried):
    """Of several processes at once: the others wait for this one."""
    trainer = trainer_of(tmp_path)
    calls = short_of_memory(trainer, times=5)
    monkeypatch.setattr(Trainer, "data_parallel_world_size", processes)
    with pytest.raises(InputError, match=r"^update 1: the memory .* dataset\.max_tokens=\d+ .*2\.00 GiB\.\)$"):
        trainer.train_step([NOISE, NOISE])
    assert len(calls) == 1 + tried and trainer.get_num_updates() == 0
