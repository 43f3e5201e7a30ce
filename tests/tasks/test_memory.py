"""Training on a CPU keeps the memory it frees; loading a model to use it does not ask for that."""

from __future__ import annotations

import torch
from fairseq.tasks import FairseqTask

from summarymixing_fairseq.tasks import speech_task


def test_an_epoch_on_a_cpu_keeps_freed_memory(monkeypatch):
    class Task(speech_task.SpeechTask, FairseqTask):
        """Nothing else."""

    calls = []
    monkeypatch.setattr(speech_task, "keep_freed_memory", lambda: calls.append(True))
    Task(None).begin_epoch(1, torch.nn.Linear(1, 1))
    assert calls == [True]
    Task(None).begin_epoch(1, torch.nn.Linear(1, 1, device="meta"))
    assert calls == [True]
