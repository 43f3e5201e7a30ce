"""What our audio tasks share: parts of files, bad clips, clear errors, and a waveform that keeps its precision."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq.data import FairseqDataset, SubsampleDataset
from fairseq.tasks.audio_pretraining import AudioPretrainingTask
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from ..data.bad_clips import BadClips
from ..data.checks import check_batch_limit, check_data_folder, check_first_clip, check_lengths
from ..data.manifest import Manifest, check_splits
from ..data.segments import SegmentDataset
from ..data.shards import ShardOrder
from ..data.waveform import SpeechDataset
from ..system.cpu_memory import keep_freed_memory
from ..system.errors import InputError
from ..training.contradictions import contradictions
from ..training.optim.new_bob import last_validation
from ..training.patches import stopping
from .watched_task import WatchedTask

logger = logging.getLogger(__name__)

# Options by which fairseq reads a split in another way. No version of fairseq has all of them.
OTHER_DATA = ("binarized_dataset", "multi_corpus_keys", "precompute_mask_config", "precompute_mask_indices")


def trains_in_half(cfg: DictConfig) -> bool:
    """Whether fairseq's trainer will round float32 input, by the task's ``fp16`` and ``bf16``.

    These follow ``common``. A task that was set up on its own does not see ``common``: then the answer is yes.
    """
    try:
        return bool(cfg.fp16 or cfg.bf16)
    except OmegaConfBaseException:
        return True


def seed_of(cfg: DictConfig) -> int:
    """``common.seed``, or 1 for a task that was set up on its own or a fairseq without the field."""
    try:
        return int(cfg.seed)
    except (AttributeError, OmegaConfBaseException):
        return 1


def shards_of(dataset: Any) -> Any:
    """(clips,) the number of each clip's shard, or None where they are in none."""
    if isinstance(dataset, SubsampleDataset):
        shards = shards_of(dataset.dataset)
        return None if shards is None else shards[dataset.indices]
    while not hasattr(dataset, "shards") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset  # labels wrap the audio
    return getattr(dataset, "shards", None)


class SpeechTask(WatchedTask):
    """Mixin before one of fairseq's audio tasks: wraps its datasets in ``SpeechDataset``, and checks splits."""

    cfg: DictConfig
    _validates_first = False  # the first of several sets

    def __init__(self, cfg: Any, **kwargs: Any):
        super().__init__(cfg, **kwargs)
        self._splits_told_of: set[str] = set()  # of which clips are in no batch

    @classmethod
    def setup_task(cls, cfg: DictConfig, **kwargs: Any) -> Any:
        """As fairseq's. Settings of the run that contradict one another are warned of.

        Raises:
            InputError: if the folder of manifests is not named or not there, unless a checkpoint is read, whose data
                may be gone; as ``check_splits``.
        """
        if not kwargs.get("from_checkpoint", False):
            stopping.begin()
            if OmegaConf.is_missing(cfg, "data"):
                raise InputError("task.data is not set: name the folder of the manifests")
            check_data_folder(cfg.data)
            run = cfg._get_root()
            if (dataset := OmegaConf.select(run, "dataset")) is not None:
                check_splits(dataset.train_subset, "" if dataset.disable_validation else dataset.valid_subset)
            for line in contradictions(run):
                logger.warning(line)
        return super().setup_task(cfg, **kwargs)

    def begin_epoch(self, epoch: int, model: nn.Module) -> None:
        """As fairseq's. Warns of the clips that could not be used so far. From here on a CPU keeps freed memory."""
        super().begin_epoch(epoch, model)
        for dataset in self.datasets.values():
            num_bad = len(dataset.bad_clips.indices())
            if num_bad:
                split, num_clips = dataset.bad_clips.split, dataset.bad_clips.num_clips
                logger.warning("%d of %d clips of %s so far could not be used: see above", num_bad, num_clips, split)
        if next(model.parameters()).device.type == "cpu":
            keep_freed_memory()
        self.waits_since = time.perf_counter()

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """As fairseq's."""
        super().begin_valid_epoch(epoch, model)
        self._validates_first = True

    def post_validate(self, model: nn.Module, stats: dict[str, Any], agg: Any) -> None:
        """fairseq calls this with the metrics of each validation set. Schedules follow those of the first."""
        if self._validates_first:
            last_validation.clear()
            last_validation.update(stats)
        self._validates_first = False

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split.

        Raises:
            InputError: for a manifest that is missing, empty or malformed, labels that do not fit it, or a
                ``task.shard_buffer`` or ``task.max_bad_fraction`` out of range.
        """
        if self.cfg.shard_buffer < 1:
            raise InputError(f"task.shard_buffer={self.cfg.shard_buffer}: must be 1 or more")
        if not 0 <= self.cfg.max_bad_fraction <= 1:
            raise InputError(f"task.max_bad_fraction={self.cfg.max_bad_fraction:g}: must be a share, 0 to 1")
        super().load_dataset(split, task_cfg, **kwargs)
        cfg, dataset = task_cfg or self.cfg, self.datasets[split]
        if getattr(cfg, "subsample", 1) < 1:
            dataset = SubsampleDataset(dataset, cfg.subsample, shuffle=True, seed=cfg.seed)
        shards = shards_of(dataset)
        self.datasets[split] = SpeechDataset(
            dataset,
            shard_order=None if shards is None else ShardOrder(shards, self.cfg.shard_buffer, seed_of(self.cfg)),
            in_float64=trains_in_half(self.cfg),
            bad_clips=BadClips(split, len(dataset), self.cfg.max_bad_fraction),
        )

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, epoch: int = 1, **kwargs: Any) -> Any:
        """As fairseq's, but a resumed run has the same batches.

        Where batches are made once for all epochs (``task.rebuild_batches=false``), fairseq seeds them by the epoch in
        which a run begins, so a resumed run would have others.

        Raises:
            InputError: for a clip longer than ``dataset.max_tokens``.
        """
        check_batch_limit(dataset, max_tokens, self.may_crop)
        made_once = self.can_reuse_epoch_itr(dataset) and not (
            self.cfg.get("rebuild_batches", False)
            or kwargs.get("update_epoch_batch_itr", False)
            or kwargs.get("disable_iterator_cache", False)
        )
        is_new = dataset not in self.dataset_to_epoch_iter
        iterator = super().get_batch_iterator(dataset, max_tokens=max_tokens, epoch=1 if made_once else epoch, **kwargs)
        if dataset.shard_order is not None:
            iterator.disable_shuffling = True
        if not self.can_reuse_epoch_itr(dataset):
            # each epoch starts new workers, and persistent ones of the last stay until they are collected as garbage
            iterator.persistent_workers = False
        if made_once and is_new:
            iterator.epoch = max(epoch, 1)
            dataset.set_epoch(epoch)
        self._count_left_out(dataset, iterator)
        return iterator

    def _count_left_out(self, dataset: Any, iterator: Any) -> None:
        """Warn, once a split, of clips that fairseq puts in no batch."""
        split, num_clips = dataset.bad_clips.split, len(dataset)
        left_out = num_clips - sum(map(len, iterator.frozen_batches))
        if left_out and split not in self._splits_told_of:
            self._splits_told_of.add(split)
            logger.warning(
                "%d of %d clips of %s are in no batch: fairseq drops what is no multiple of "
                "dataset.required_batch_size_multiple (8 unless set), and clips over its limits; set it to 1",
                left_out,
                num_clips,
                split,
            )


class SegmentedAudioTask(AudioPretrainingTask):
    """fairseq's task whose manifests may name parts of files. List it last among the bases of a task."""

    may_crop: bool
    min_samples: Callable[[], int]
    min_samples_of = "the model"  # what needs min_samples of a clip

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load the audio of a split.

        Raises:
            InputError: for an option of ``OTHER_DATA``; for a manifest that is missing, empty or malformed, or whose
                first clip is not there; for clips with transcripts that ``task.max_sample_size`` would crop.
        """
        cfg = task_cfg or self.cfg
        for name in OTHER_DATA:
            if getattr(cfg, name, None):
                raise InputError(f"task.{name}: give manifests of audio (of several: summarymixing manifest join)")
        path = Path(self.cfg.data) / f"{split}.tsv"
        manifest = Manifest(path, self.cfg.min_sample_size or 0, self.cfg.allow_outside_root)
        self.check_split(split, manifest)
        self.datasets[split] = self.audio_dataset(
            split,
            manifest,
            sample_rate=cfg.get("sample_rate", self.cfg.sample_rate),
            num_buckets=self.cfg.num_batch_buckets or int(self.cfg.tpu),
            max_sample_size=self.cfg.max_sample_size,
            min_sample_size=self.cfg.min_sample_size,
            pad=cfg.labels is not None or cfg.enable_padding,
            normalize=cfg.normalize,
            seed=seed_of(self.cfg),
            min_samples=self.min_samples(),
        )

    def audio_dataset(self, split: str, manifest: Manifest, **options: Any) -> FairseqDataset:
        """The audio of a split, without its labels; options: of ``SegmentDataset``."""
        return SegmentDataset(manifest, **options)

    def check_split(self, split: str, manifest: Manifest) -> None:
        """Raises InputError for a first clip that is not there, clips shorter than ``min_samples``, or a
        ``max_sample_size`` below it."""
        check_first_clip(manifest)
        most = self.cfg.max_sample_size
        if most is not None and most < self.min_samples():
            least = f"{self.min_samples_of} takes {self.min_samples()}"
            raise InputError(f"task.max_sample_size={most}: clips are cropped to so many samples, and {least} at least")
        check_lengths(manifest, self.min_samples(), self.min_samples_of)
