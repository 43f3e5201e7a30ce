"""``speech_pretraining``: fairseq's ``audio_pretraining`` with a waveform that keeps its precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig, AudioPretrainingTask

from ..data.checks import check_batch_limit, check_data_folder, check_manifest
from ..data.waveform import SpeechDataset


@dataclass
class SpeechPretrainingConfig(AudioPretrainingConfig):
    """No field of its own."""


@register_task("speech_pretraining", dataclass=SpeechPretrainingConfig)
class SpeechPretrainingTask(AudioPretrainingTask):
    """fairseq's task with two differences: the waveform is not halved, and a bad manifest is named in one line."""

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> SpeechPretrainingTask:
        """As fairseq's.

        Raises:
            InputError: if the folder of manifests is not there, unless a checkpoint is read, whose data may be gone.
        """
        if not kwargs.get("from_checkpoint", False):
            check_data_folder(cfg.data)
        return super().setup_task(cfg, **kwargs)

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split.

        Raises:
            InputError: for a manifest that is missing, empty or malformed.
        """
        check_manifest(self.cfg.data, split)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = SpeechDataset(self.datasets[split])

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, **kwargs: Any) -> Any:
        """As fairseq's.

        Raises:
            InputError: for a clip longer than ``dataset.max_tokens``.
        """
        check_batch_limit(dataset, max_tokens)
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **kwargs)
