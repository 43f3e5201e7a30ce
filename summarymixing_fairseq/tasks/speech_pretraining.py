"""``speech_pretraining``: fairseq's ``audio_pretraining`` on segments of files, with bad clips replaced."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from fairseq.distributed.utils import broadcast_object, get_data_parallel_group, get_global_rank
from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig
from omegaconf import DictConfig, open_dict

from ..system.errors import InputError
from ..training.watch.quality import QualityWatch, first_minute
from ..training.wav2vec_criterion import LazyWav2vecCriterion
from .speech_fields import SpeechFields
from .speech_task import SegmentedAudioTask, SpeechTask

logger = logging.getLogger(__name__)

PERPLEXITIES = ("prob_perplexity", "code_perplexity")


@dataclass
class SpeechPretrainingConfig(SpeechFields, AudioPretrainingConfig):
    """fairseq's fields, those of all our tasks, and when a run counts as unhealthy."""

    health_updates: int = field(
        default=200,
        metadata={"help": "updates in a row that a sign of ill health lasts before the log warns of it"},
    )
    min_codebook_use: float = field(
        default=0.02,
        metadata={"help": "code perplexity over number of codes, below which codebooks count as collapsed"},
    )
    quality: bool = field(
        default=True,
        metadata={
            "help": "at each validation measure effective rank of latents and layers and, where espeakng-loader is "
            "installed, phone accuracy"
        },
    )


@register_task("speech_pretraining", dataclass=SpeechPretrainingConfig)
class SpeechPretrainingTask(SpeechTask, SegmentedAudioTask):
    """fairseq's task; rows may be parts of files at any rate, bad clips are replaced, waveforms stay exact."""

    min_samples_of = "a masked span (model.mask_length)"
    _model: Any = None  # that is trained
    _objective: Any = None  # of it
    _measures: Optional[bool] = None  # whether a process measures quality; not known before the first epoch
    _quality: Any = None  # QualityWatch of this process, where it measures
    _quality_state: Optional[Dict[str, Any]] = None  # of the checkpoint that the run was taken up from

    def build_model(self, cfg: DictConfig, *args: Any, **kwargs: Any) -> Any:
        """As fairseq's.

        Raises:
            InputError: for a model of ours that would train without masks, or that cannot stream as it should.
        """
        if self.cfg.normalize and getattr(cfg, "streaming", False):
            raise InputError("task.normalize=true needs the whole clip, which a model with model.streaming=true lacks")
        model = super().build_model(cfg, *args, **kwargs)
        self._objective = getattr(model, "objective", None)
        if self._objective is not None and not kwargs.get("from_checkpoint", False) and cfg.mask_prob == 0:
            raise InputError("model.mask_prob=0: pre-training needs masked frames (0.65 in the paper)")
        if getattr(self._objective, "criterion", None) == "wav2vec" and not cfg.require_same_masks:
            raise InputError("model.require_same_masks=false: the contrastive objective needs equal numbers of masks")
        self._model = model
        return model

    def min_samples(self) -> int:
        """Those that the masks of a model of ours need."""
        if self._objective is None:
            return 0
        return self._model.feature_extractor.min_samples(self._model.min_maskable_frames)

    def build_criterion(self, cfg: DictConfig, *args: Any, **kwargs: Any) -> Any:
        """As fairseq's; ``wav2vec`` logs the perplexities, as a collapse shows in them first, and with ``infonce`` it
        does not make the host wait for the GPU.

        Raises:
            InputError: for another criterion than the objective's.
        """
        wanted = getattr(self._objective, "criterion", cfg._name)
        if cfg._name != wanted:
            raise InputError(f"criterion._name={cfg._name}: the model's objective is trained by {wanted}")
        if cfg._name == "wav2vec":
            if self._objective is not None and not cfg.infonce:
                raise InputError("criterion.infonce=false: the objective gives logits of frames, so leave it true")
            with open_dict(cfg):
                cfg.log_keys = [*cfg.log_keys, *(key for key in PERPLEXITIES if key not in cfg.log_keys)]
        criterion = super().build_criterion(cfg, *args, **kwargs)
        if isinstance(criterion, Wav2vecCriterion) and criterion.infonce:
            return LazyWav2vecCriterion(self, True, criterion.loss_weights, criterion.log_keys)
        return criterion

    def train_step(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """As fairseq's; our model gets the clips' lengths, which it would have to ask the GPU for."""
        return super().train_step(self._with_lengths(sample), *args, **kwargs)

    def valid_step(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """As ``train_step``."""
        return super().valid_step(self._with_lengths(sample), *args, **kwargs)

    def _with_lengths(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        if self._objective is None or "num_samples" not in sample:
            return sample
        return {**sample, "net_input": {**sample["net_input"], "num_samples": sample["num_samples"]}}

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """As fairseq's. A run that begins measures what its weights tell before the first update."""
        super().begin_epoch(epoch, model)
        if self._measures is not None:
            return
        splits = [name for name in self.datasets if not name.startswith("train")]
        self._measures = bool(self.cfg.quality and self._objective and splits)
        if self._measures and model.encoder.run_dropped_layers:  # sharded weights need all for a forward pass
            logger.warning("task.quality: nothing is measured where weights are sharded (fully_sharded)")
            self._measures = False
        if not self._measures or get_global_rank() > 0:  # one process measures
            return
        waves = first_minute(self.datasets[splits[0]], self.cfg.max_sample_size)
        self._quality = QualityWatch(waves, bool(self.cfg.normalize), self.cfg.health_updates, self._quality_state)
        if self._quality_state is None:
            with self.autocast(model):
                self._quality.begin(model, splits[0])

    def post_validate(self, model: Any, stats: Dict[str, Any], agg: Any) -> None:
        """As fairseq's. Adds quality to the statistics of the first validation set, which are logged next, and which
        may choose the best checkpoint in every process."""
        if self._measures and self._validates_first:
            measured: Dict[str, Any] = {}
            if self._quality is not None:
                with self.autocast(model):
                    measured = self._quality.measure(model)
            if torch.distributed.is_initialized():
                measured = broadcast_object(measured, 0, get_data_parallel_group())
            stats.update(measured)
            num_codes = self.health_targets().get("num_codes")
            if num_codes and "code_perplexity" in stats:
                stats.setdefault("codebook_use", round(float(stats["code_perplexity"]) / num_codes, 4))
            if self._quality is not None:
                self._quality.check(stats, self._trainer.get_num_updates())
        super().post_validate(model, stats, agg)

    def get_checkpoint_dict(self) -> Dict[str, Any]:
        """As every task's, and the quality that the run began with."""
        state = super().get_checkpoint_dict()
        quality = self._quality_state if self._quality is None else self._quality.state()
        if quality is not None:
            state[type(self).__name__]["quality"] = quality
        return state

    def set_checkpoint_dict(self, state: Dict[str, Any]) -> None:
        """Restore what ``get_checkpoint_dict`` saved. What an older run began with is not known."""
        super().set_checkpoint_dict(state)
        self._quality_state = state.get("quality", {})

    def mask_counts(self, sample: Any, model: Any, logging_output: Dict[str, Any]) -> Dict[str, float]:
        """Frames that were masked, which are what the criterion counts, and frames that could have been."""
        frontend: Any = getattr(model, "feature_extractor", None)
        if not hasattr(frontend, "output_lengths"):
            return {}
        valid_frames = frontend.output_lengths(torch.tensor(sample["num_samples"])).sum()
        return {"masked_frames": float(logging_output["sample_size"]), "valid_frames": float(valid_frames)}

    def health_targets(self) -> Dict[str, float]:
        """Spans begin at mask_prob / mask_length of the frames and overlap: 1 - exp(-mask_prob) of them are masked.

        Where single frames fill them up (``model.mask_fill``), mask_prob is.
        """
        cfg, targets = getattr(self._model, "cfg", None), {}
        if (mask_prob := getattr(cfg, "mask_prob", None)) is not None:
            targets["masked_target"] = mask_prob if getattr(cfg, "mask_fill", False) else 1.0 - math.exp(-mask_prob)
        if num_codes := getattr(self._objective, "num_codes", None):
            targets["num_codes"] = num_codes
        return targets
