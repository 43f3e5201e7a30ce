"""``probe_recognition``: CTC probes on transcripts."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.tasks import register_task

from ...tasks.speech_finetuning import SpeechFinetuningConfig, SpeechFinetuningTask
from .probe_task import CACHE_DIR_HELP, CACHE_HELP, CACHE_MAX_GIB_HELP, ProbeTask


@dataclass
class ProbeRecognitionConfig(SpeechFinetuningConfig):
    """Fields of ``speech_finetuning``, and where features are kept."""

    cache: bool = field(default=True, metadata={"help": CACHE_HELP})
    cache_dir: Optional[str] = field(default=None, metadata={"help": CACHE_DIR_HELP})
    cache_max_gib: float = field(default=50.0, metadata={"help": CACHE_MAX_GIB_HELP})


@register_task("probe_recognition", dataclass=ProbeRecognitionConfig)
class ProbeRecognitionTask(ProbeTask, SpeechFinetuningTask):
    """CTC probes: WER and, as ``uer``, the error rate of units by fairseq's ``ctc`` criterion."""

    is_frame_level = True
