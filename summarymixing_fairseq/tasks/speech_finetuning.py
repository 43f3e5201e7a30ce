"""``speech_finetuning``: fairseq's ``audio_finetuning`` with a waveform that keeps its precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask

from ..data.checks import check_batch_limit, check_data_folder, check_labels, check_manifest
from ..data.waveform import SpeechDataset


@dataclass
class SpeechFinetuningConfig(AudioFinetuningConfig):
    """No field of its own."""


@register_task("speech_finetuning", dataclass=SpeechFinetuningConfig)
class SpeechFinetuningTask(AudioFinetuningTask):
    """fairseq's task with two differences: the waveform is not halved, and bad manifests and labels are named."""

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> SpeechFinetuningTask:
        """As fairseq's.

        Raises:
            InputError: if the folder of manifests is not there, unless a checkpoint is read, whose data may be gone.
        """
        if not kwargs.get("from_checkpoint", False):
            check_data_folder(cfg.data)
        return super().setup_task(cfg, **kwargs)

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split and its labels.

        Raises:
            InputError: for a manifest that is missing, empty or malformed, labels that do not match its rows, or a
                letter that the dictionary lacks.
        """
        check_manifest(self.cfg.data, split)
        check_labels(self.cfg.data, split, self.cfg.labels, self.target_dictionary)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = SpeechDataset(self.datasets[split])

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, **kwargs: Any) -> Any:
        """As fairseq's.

        Raises:
            InputError: for a clip longer than ``dataset.max_tokens``.
        """
        check_batch_limit(dataset, max_tokens)
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **kwargs)
