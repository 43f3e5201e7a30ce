"""``speech_pretraining``: fairseq's ``audio_pretraining`` with a waveform that keeps its precision."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig, AudioPretrainingTask
from omegaconf import II

from ..data.checks import check_manifest
from .speech_task import SpeechTask


@dataclass
class SpeechPretrainingConfig(AudioPretrainingConfig):
    """fairseq's, and the training precision, which follows ``common``."""

    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")


@register_task("speech_pretraining", dataclass=SpeechPretrainingConfig)
class SpeechPretrainingTask(SpeechTask, AudioPretrainingTask):
    """fairseq's task with two differences: the waveform is not halved, and a bad manifest is named in one line."""

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split.

        Raises:
            InputError: for a manifest that is missing, empty or malformed.
        """
        check_manifest(self.cfg.data, split)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = self.wrap(self.datasets[split])
