"""``probe_verification``: speaker embeddings learnt from speaker labels on random chunks, compared by cosine."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Sequence

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.tasks import register_task

from ...data.manifest import Manifest
from ...data.reading import seconds_up
from ...system.errors import InputError
from ..chunks import ChunkDataset
from ..criterion import UNKNOWN_CLASS
from ..heads import HEADS, EmbeddingHead
from ..metrics.trials import all_pairs
from ..metrics.verification import eer_and_min_dcf, score_trials
from .classification import ProbeClassificationTask
from .recognition import ProbeConfig

logger = logging.getLogger(__name__)

# Most trials of a validation: enough to know the EER to a tenth of a percent.
MAX_VALID_TRIALS = 200_000


@dataclass
class ProbeVerificationConfig(ProbeConfig):
    """Fields of all probing tasks, and the chunks of training."""

    labels: str = field(default="speaker", metadata={"help": "extension of the files of speaker labels"})
    chunk_seconds: float = field(default=3.0, metadata={"help": "length of the random chunk of each clip in training"})


@register_task("probe_verification", dataclass=ProbeVerificationConfig)
class ProbeVerificationTask(ProbeClassificationTask):
    """Speaker verification of MP3S (arXiv 2308.14456, Section 3).

    Training classifies the speakers of random chunks. Validation takes whole clips, and logs accuracy and the EER of
    pairs of its clips by the cosine of their embeddings. ``summarymixing evaluate`` scores a list of trials.
    """

    own_metric, own_metric_falls = "eer", True

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """As fairseq's.

        Raises:
            InputError: for a head without embeddings, or chunks shorter than it takes.
        """
        model = super().build_model(model_cfg, from_checkpoint)
        if not isinstance(model.head, EmbeddingHead):
            fitting = " or ".join(name for name, head in HEADS.items() if issubclass(head, EmbeddingHead))
            raise InputError(f"model.head={model_cfg.head} has no speaker embeddings: choose {fitting}")
        min_seconds = seconds_up(model.encoder.min_samples(model.head.min_frames))
        if not self.cfg.chunk_seconds >= min_seconds:
            raise InputError(f"task.chunk_seconds={self.cfg.chunk_seconds}: {model_cfg.head} needs {min_seconds:g} s")
        return model

    def audio_dataset(self, split: str, manifest: Manifest, **options: Any) -> FairseqDataset:
        """Random chunks for training, whole clips for other splits."""
        if not split.startswith("train"):
            return super().audio_dataset(split, manifest, **options)
        return ChunkDataset(manifest, chunk_seconds=self.cfg.chunk_seconds, ascending=self.cfg.ascending, **options)

    def outputs_of(self, sample: Dict[str, Any]) -> Sequence[np.ndarray]:
        """The embedding of each clip."""
        return sample["embeddings"].float().cpu().numpy()

    def measure(self, outputs: Dict[int, Any]) -> float:
        """EER of a split as a fraction; NaN, with a warning, if its clips make no pairs of both kinds.

        Clips of speakers that training lacks are left out: they all have the same target here.
        """
        clips = sorted(clip for clip, (speaker, _) in outputs.items() if speaker != UNKNOWN_CLASS)
        if not clips:
            return math.nan
        speakers: Any = np.array([outputs[clip][0] for clip in clips])  # numbers stand for names
        embeddings = np.stack([outputs[clip][1] for clip in clips])
        names = [f"clip {clip}" for clip in clips]
        try:
            trials = all_pairs(speakers, MAX_VALID_TRIALS)
            scores = score_trials(embeddings, trials, names)
        except InputError as error:
            logger.warning("no EER in validation: %s", error)
            return math.nan
        return eer_and_min_dcf(scores, trials.labels)[0]
