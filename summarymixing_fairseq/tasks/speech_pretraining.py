"""``speech_pretraining``: fairseq's ``audio_pretraining`` on segments of files, with bad clips replaced."""

from dataclasses import dataclass, field

from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig
from omegaconf import II

from .speech_task import ALLOW_OUTSIDE_ROOT_HELP, MAX_BAD_FRACTION_HELP, SegmentedAudioTask, SpeechTask


@dataclass
class SpeechPretrainingConfig(AudioPretrainingConfig):
    """fairseq's, how many bad clips are tolerated, and the training precision, which follows ``common``."""

    max_bad_fraction: float = field(default=0.01, metadata={"help": MAX_BAD_FRACTION_HELP})
    allow_outside_root: bool = field(default=False, metadata={"help": ALLOW_OUTSIDE_ROOT_HELP})
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")


@register_task("speech_pretraining", dataclass=SpeechPretrainingConfig)
class SpeechPretrainingTask(SpeechTask, SegmentedAudioTask):
    """fairseq's task, with parts of files, files at any rate, stand-ins for bad clips, and a waveform not halved."""
