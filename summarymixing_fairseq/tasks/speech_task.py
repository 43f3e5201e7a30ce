"""What our audio tasks share: clear errors for bad data, and a waveform that keeps its precision."""

from __future__ import annotations

from typing import Any

from fairseq.data import FairseqDataset
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from ..cpu_memory import keep_freed_memory
from ..data.checks import check_batch_limit, check_data_folder
from ..data.waveform import SpeechDataset


def trains_in_half(cfg: DictConfig) -> bool:
    """Whether fairseq's trainer will round float32 input, by the task's ``fp16`` and ``bf16``.

    They follow ``common``, which a task that was set up on its own does not see: it counts as half.
    """
    try:
        return bool(cfg.fp16 or cfg.bf16)
    except OmegaConfBaseException:
        return True


class SpeechTask:
    """Mixin before one of fairseq's audio tasks."""

    cfg: DictConfig

    @classmethod
    def setup_task(cls, cfg: DictConfig, **kwargs: Any) -> Any:
        """As fairseq's.

        Raises:
            InputError: if the folder of manifests is not there, unless a checkpoint is read, whose data may be gone.
        """
        if not kwargs.get("from_checkpoint", False):
            check_data_folder(cfg.data)
        return super().setup_task(cfg, **kwargs)

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        """As fairseq's; a run on a CPU keeps the memory it frees from here on."""
        super().begin_epoch(epoch, model)
        if next(model.parameters()).device.type == "cpu":
            keep_freed_memory()

    def wrap(self, dataset: FairseqDataset) -> SpeechDataset:
        """The dataset of a split as it should train."""
        return SpeechDataset(dataset, in_float64=trains_in_half(self.cfg))

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, **kwargs: Any) -> Any:
        """As fairseq's.

        Raises:
            InputError: for a clip longer than ``dataset.max_tokens``.
        """
        check_batch_limit(dataset, max_tokens)
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **kwargs)
