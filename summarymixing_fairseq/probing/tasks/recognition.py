"""``probe_recognition``: CTC probes on transcripts; and the fields of all probing tasks."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.tasks import register_task

from ...tasks.speech_finetuning import SpeechFinetuningConfig, SpeechFinetuningTask
from .probe_task import ProbeTask


@dataclass
class ProbeConfig(SpeechFinetuningConfig):
    """Fields of ``speech_finetuning``, and where features are kept."""

    ascending: bool = field(
        default=False,
        metadata={
            "help": "fill batches with clips of rising length; dataset.curriculum=N keeps them in order for N epochs"
        },
    )
    cache: bool = field(
        default=True,
        metadata={
            "help": "keep what a frozen encoder gives for each clip on disk, so that it is computed once for all epochs"
        },
    )
    cache_dir: Optional[str] = field(
        default=None, metadata={"help": "folder of these features; default: state_cache below task.data"}
    )
    cache_max_gib: float = field(
        default=50.0, metadata={"help": "features of a split that would take more are not kept"}
    )


@register_task("probe_recognition", dataclass=ProbeConfig)
class ProbeRecognitionTask(ProbeTask, SpeechFinetuningTask):
    """CTC probes: WER and, as ``uer``, the error rate of units by fairseq's ``ctc`` criterion."""

    is_frame_level = True
