"""What the probing tasks share: the features of a frozen encoder are computed once and kept on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from omegaconf import DictConfig, open_dict
from torch import Tensor

from ...data.checks import check_sample_rate
from ...data.manifest import Manifest, size_and_time
from ...data.segments import SegmentDataset
from ...system.errors import InputError
from ...tasks.speech_task import SegmentedAudioTask, SpeechTask, trains_in_half
from ..heads import HEADS
from ..kept_features import CachedStatesDataset, StateCache, cache_key
from ..model import SslProbe, pooled_states

logger = logging.getLogger(__name__)

GIB = 2**30


class ProbeTask(SpeechTask, SegmentedAudioTask):
    """Base of the tasks that train ``ssl_probe``.

    Features are kept only where the encoder always gives the same for a clip. That is not so where the encoder is
    trained, or where clips are cropped at random.
    """

    # whether the task is for heads with scores a frame; otherwise for heads with scores a clip
    is_frame_level: bool
    min_samples_of = "the probe's head (model.head)"
    model: SslProbe
    cfg: DictConfig

    def __init__(self, cfg: DictConfig, **kwargs: Any):
        super().__init__(cfg, **kwargs)
        self._trained_on: Tensor | None = None  # (2, 32) uint8, digests of the encoder and of the training data

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> SslProbe:
        """As fairseq's.

        Raises:
            InputError: for another model than ``ssl_probe``, a head for other tasks, audio at another rate than the
                encoder's, ``task.normalize``, or training in another precision than float32.
        """
        if not from_checkpoint and (trains_in_half(self.cfg) or self.cfg.amp):
            # features would be rounded too, and fairseq's amp does not work with its composite optimizer
            raise InputError("probes train in float32: leave common.fp16, common.bf16 and common.amp off")
        if self.cfg.normalize:  # `evaluate` goes by the checkpoint alone
            raise InputError("the encoder's checkpoint says whether audio is normalised: leave task.normalize off")
        if model_cfg._name != "ssl_probe":
            raise InputError(f"task {self.cfg._name} is for model._name=ssl_probe, not {model_cfg._name}")
        head = HEADS.get(model_cfg.head)
        if head is not None and head.is_frame_level != self.is_frame_level:
            fitting = ", ".join(name for name, other in HEADS.items() if other.is_frame_level == self.is_frame_level)
            raise InputError(f"model.head={model_cfg.head} is not for task {self.cfg._name}: choose one of {fitting}")
        model = super().build_model(model_cfg, from_checkpoint)
        check_sample_rate(self.cfg.sample_rate, model.encoder.sample_rate_hz)
        with open_dict(model_cfg):  # checkpoints take it from here, as fairseq does with w2v_args
            model_cfg.encoder_sha256 = model.cfg.encoder_sha256
        if not from_checkpoint:
            self._trained_on = torch.stack([_digest(model.encoder.weights_digest()), self._data_digest()])
            model.trained_on.copy_(self._trained_on)
        self.model = model
        return model

    def _data_digest(self) -> Tensor:
        """(32,) uint8 digest of the rows and labels of the training split; the folder of the audio does not count."""
        folder, parts = Path(self.cfg.data), []
        for name in ("train.tsv", f"train.{self.cfg.labels}", f"dict.{self.cfg.labels}.txt"):
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            parts.append(content.partition(b"\n")[2] if name == "train.tsv" else content)
        return _digest(*parts)

    def check_trained_on(self) -> None:
        """Raises InputError if the checkpoint that was loaded is of another encoder or other training data."""
        if self._trained_on is None:
            return
        same = (self.model.trained_on.cpu() == self._trained_on).all(1).tolist()
        differing = " and ".join(what for what, equal in zip(("encoder", "training data"), same) if not equal)
        if differing:
            raise InputError(
                f"the checkpoint in checkpoint.save_dir is of a probe with another {differing}, which this run would "
                "go on with: choose another checkpoint.save_dir for each encoder and data, or delete that one"
            )

    def audio_dataset(self, split: str, manifest: Manifest, **options: Any) -> FairseqDataset:
        """The clips of a split: their waveforms, or the features that are kept of them."""
        audio = SegmentDataset(manifest, ascending=self.cfg.ascending, **options)
        return CachedStatesDataset(audio) if self._keeps_states(split, manifest) else audio

    def min_samples(self) -> int:
        """Samples of the shortest clip that the head takes."""
        return self.model.encoder.min_samples(self.model.head.min_frames)

    def _keeps_states(self, split: str, manifest: Manifest) -> bool:
        """Whether the features of a split are kept; a warning says if they would be too large."""
        max_samples = self.cfg.max_sample_size
        cropped = max_samples is not None and int(manifest.sizes.max()) > max_samples
        if not self.cfg.cache or not self.model.freeze or cropped:
            return False
        gib = self._clip_bytes(manifest).sum() / GIB
        if gib > self.cfg.cache_max_gib:
            logger.warning(
                "the features of %s would take %.2g GiB, more than task.cache_max_gib=%g: they are computed anew in "
                "every epoch",
                split,
                gib,
                self.cfg.cache_max_gib,
            )
            return False
        return True

    def _clip_bytes(self, manifest: Manifest) -> np.ndarray:
        """(clips,), about what the features of each clip take on disk: of its frames, or of their mean."""
        encoder = self.model.encoder
        num_frames = np.ceil(manifest.sizes * encoder.frame_rate_hz / encoder.sample_rate_hz)
        vectors = np.ones(len(manifest)) if self.model.head.takes_mean else num_frames
        return vectors * 4 * encoder.num_states * encoder.state_dim

    def _cache_of(self, manifest: Manifest) -> StateCache:
        """The cache of a manifest's features by the encoder's present weights."""
        model = self.model
        pooled = model.head.takes_mean
        what = f"{'pooled' if pooled else 'frames'}, layer_norm={model.layer_norm}, normalize=False"
        what += ", checksums"  # which files of version 0.1 lack
        if next(model.parameters()).is_cuda:
            what += ", GPU, TF32" if torch.backends.cuda.matmul.allow_tf32 else ", GPU"
        rows: list[str | bytes] = [manifest.root, manifest.sizes.tobytes(), manifest.offsets.tobytes()]
        rows += [part for clip in manifest for part in (clip.name, size_and_time(clip.path))]
        key = cache_key(what, repr(model.encoder.spec.to_dict()), model.encoder.weights_digest(), *rows)
        folder = Path(self.cfg.cache_dir or Path(self.cfg.data) / "state_cache").absolute()
        return StateCache(folder / key, self._clip_bytes(manifest))

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, epoch: int = 1, **kwargs: Any) -> Any:
        """As fairseq's; before the first batch, features that are missing are computed where the model is.

        Raises:
            InputError: for a checkpoint of another encoder or other data, a clip whose features are not finite, or a
                disk too small.
        """
        # fairseq has loaded the checkpoint by its first call
        self.check_trained_on()
        self.fill_cache(dataset)
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, epoch=epoch, **kwargs)

    def fill_cache(self, dataset: Any) -> None:
        """Compute what a dataset's cache lacks, if it has one."""
        while dataset is not None and not isinstance(dataset, CachedStatesDataset):
            dataset = getattr(dataset, "dataset", None)
        if dataset is None or dataset.cache is not None:
            return
        audio, model = dataset.dataset, self.model
        # not when the dataset is made: a run that goes on has loaded its encoder's weights since
        cache = self._cache_of(audio.manifest)
        device = next(model.parameters()).device

        @torch.no_grad()
        def encode(source: Tensor, padding_mask: Tensor) -> tuple[Tensor, list[int]]:
            states, frame_padding = model.encode(source.to(device), padding_mask.to(device))
            if model.head.takes_mean:
                states, frame_padding = pooled_states(states, frame_padding), None
            # (B, T, D) for each state -> (B, S, T, D)
            stacked = torch.stack([state.float() for state in states], 1).cpu()
            if frame_padding is None:
                return stacked, [stacked.size(2)] * stacked.size(0)
            return stacked, (~frame_padding).sum(1).tolist()

        training = model.training
        model.eval()
        try:
            cache.fill(audio, encode)
        finally:
            model.train(training)
        dataset.cache = cache


def _digest(*parts: str | bytes) -> Tensor:
    """(32,) uint8, SHA-256 of the parts."""
    return torch.tensor(list(bytes.fromhex(cache_key(*parts))), dtype=torch.uint8)
