"""``probe_classification``: one class a clip, such as intent or emotion."""

import math
from pathlib import Path
from typing import Any, Dict, List, Sequence

import torch
from fairseq.data import Dictionary
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningTask
from omegaconf import DictConfig

from ...data.checks import check_labels
from ...data.dictionary import load_dictionary
from ...data.manifest import Manifest
from ...system.errors import InputError
from ...tasks.speech_task import SegmentedAudioTask
from ..criterion import UNKNOWN_CLASS
from .probe_task import ProbeTask
from .recognition import ProbeConfig


@register_task("probe_classification", dataclass=ProbeConfig)
class ProbeClassificationTask(ProbeTask, AudioFinetuningTask, SegmentedAudioTask):
    """fairseq's ``audio_finetuning`` with a class for a transcript.

    fairseq's own ``audio_classification`` is not used: some releases lack it, it cannot load labels (its dictionary has
    no padding symbol), it runs the model twice a step, and it fails on a class of the validation split that training
    lacks. Here such a class counts as an error, with a warning.
    """

    is_frame_level = False
    # name of the metric that validation adds to accuracy, and whether lower is better
    own_metric, own_metric_falls = "macro_f1", False

    def __init__(self, cfg: DictConfig):
        if not cfg.labels:
            raise InputError(
                "task.labels is not set: name the extension of the label files (scenario, emotion, speaker)"
            )
        super().__init__(cfg)
        self._outputs: Dict[int, Any] = {}

    def load_target_dictionary(self) -> Dictionary:
        """Classes of dict.LABELS.txt, numbered from 0; any other class is ``UNKNOWN_CLASS``.

        Raises:
            InputError: for a file that is missing, cannot be read or has no class.
        """
        path = Path(self.cfg.target_dictionary or self.cfg.data) / f"dict.{self.cfg.labels}.txt"
        if not path.is_file():
            raise InputError(f"{path} is missing: it lists the classes of training, `CLASS COUNT` a line")
        dictionary = load_dictionary(path, add_special_symbols=False)
        if not len(dictionary):
            raise InputError(f"{path} lists no class: write those of training, `CLASS COUNT` a line")
        dictionary.pad_index = dictionary.eos_index = dictionary.unk_index = UNKNOWN_CLASS
        return dictionary

    def check_split(self, split: str, manifest: Manifest) -> None:
        """Raises InputError for a first clip that is not there, or labels that do not fit rows and classes."""
        super().check_split(split, manifest)
        num_rows = len(manifest) + len(manifest.skipped)
        check_labels(self.cfg.data, split, self.cfg.labels, self.target_dictionary, num_rows, one_class=True)

    def reduce_metrics(self, logging_outputs: List[Dict[str, Any]], criterion: Any) -> None:
        """As fairseq's. ``own_metric`` is logged as NaN: fairseq looks it up before ``post_validate`` measures it."""
        super().reduce_metrics(logging_outputs, criterion)
        if not criterion.training:
            metrics.log_scalar(self.own_metric, math.nan)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """As fairseq's; outputs of an earlier validation are dropped."""
        super().begin_valid_epoch(epoch, model)
        self._outputs = {}

    def valid_step(self, sample: Dict[str, Any], model: Any, criterion: Any) -> Any:
        """As fairseq's; target and output of each clip are kept until ``post_validate``."""
        step = super().valid_step(sample, model, criterion)
        targets = sample["target"][:, 0].tolist()
        # by clip: where several processes validate, fairseq repeats batches so that each process has as many
        self._outputs.update(zip(sample["id"].tolist(), zip(targets, self.outputs_of(sample))))
        return step

    def outputs_of(self, sample: Dict[str, Any]) -> Sequence[Any]:
        """What ``measure`` needs of each clip of a validated batch, besides its target: the predicted class."""
        return sample["predictions"].tolist()

    def post_validate(self, model: Any, stats: Dict[str, Any], agg: Any) -> None:
        """As ``SpeechTask``'s; ``own_metric``, in percent, is added to what fairseq logs for a split."""
        outputs = gather(self._outputs)
        self._outputs = {}
        stats[self.own_metric] = round(100.0 * self.measure(outputs), 3)
        best = f"best_{self.own_metric}"
        if best in stats:
            stats[best] = (min if self.own_metric_falls else max)(stats[best], stats[self.own_metric])
        super().post_validate(model, stats, agg)

    def measure(self, outputs: Dict[int, Any]) -> float:
        """``own_metric`` as a fraction, of what ``valid_step`` kept for each clip; NaN where there is none."""
        if not outputs:
            return math.nan
        from sklearn.metrics import f1_score  # takes a second

        targets, predictions = zip(*outputs.values())
        # all classes that training lacks count as one more
        return float(f1_score(targets, predictions, average="macro", zero_division=0))


def gather(outputs: Dict[int, Any]) -> Dict[int, Any]:
    """Outputs by clip of all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return outputs
    parts: List[Dict[int, Any]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, outputs)
    return {clip: output for part in parts for clip, output in part.items()}
