"""``speech_finetuning``: fairseq's ``audio_finetuning`` with a waveform that keeps its precision."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II

from ..data.checks import check_labels, check_manifest
from .speech_task import SpeechTask


@dataclass
class SpeechFinetuningConfig(AudioFinetuningConfig):
    """fairseq's, and the training precision, which follows ``common``."""

    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")


@register_task("speech_finetuning", dataclass=SpeechFinetuningConfig)
class SpeechFinetuningTask(SpeechTask, AudioFinetuningTask):
    """fairseq's task with two differences: the waveform is not halved, and bad manifests and labels are named."""

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split and its labels.

        Raises:
            InputError: for a manifest that is missing, empty or malformed, labels that do not match its rows, or a
                letter that the dictionary lacks.
        """
        check_manifest(self.cfg.data, split)
        check_labels(self.cfg.data, split, self.cfg.labels, self.target_dictionary)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = self.wrap(self.datasets[split])
