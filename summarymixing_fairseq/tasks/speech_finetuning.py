"""``speech_finetuning``: fairseq's ``audio_finetuning`` on segments of files, with bad clips replaced."""

from dataclasses import dataclass, field

from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II

from ..data.checks import check_labels
from ..data.manifest import Manifest
from .speech_task import ALLOW_OUTSIDE_ROOT_HELP, MAX_BAD_FRACTION_HELP, SegmentedAudioTask, SpeechTask


@dataclass
class SpeechFinetuningConfig(AudioFinetuningConfig):
    """fairseq's, how many bad clips are tolerated, and the training precision, which follows ``common``."""

    max_bad_fraction: float = field(default=0.01, metadata={"help": MAX_BAD_FRACTION_HELP})
    allow_outside_root: bool = field(default=False, metadata={"help": ALLOW_OUTSIDE_ROOT_HELP})
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")


@register_task("speech_finetuning", dataclass=SpeechFinetuningConfig)
class SpeechFinetuningTask(SpeechTask, AudioFinetuningTask, SegmentedAudioTask):
    """fairseq's task, with what ``speech_pretraining`` has, and labels checked before they train."""

    def check_split(self, split: str, manifest: Manifest) -> None:
        """Raises InputError for a first clip that is not there, or labels that do not fit rows and dictionary."""
        super().check_split(split, manifest)
        num_rows = len(manifest) + len(manifest.skipped)
        check_labels(self.cfg.data, split, self.cfg.labels, self.target_dictionary, num_rows)
