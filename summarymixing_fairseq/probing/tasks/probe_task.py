"""What the probing tasks share: features of a frozen encoder computed once, and predictions gathered in validation."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from fairseq.data import FairseqDataset
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from ...data.batching import seconds_up
from ...data.manifest import Manifest
from ...data.segments import SegmentDataset
from ...system.errors import InputError
from ...tasks.speech_task import SpeechTask, trains_in_half
from ..heads import HEADS
from ..kept_features.cache import StateCache, cache_key
from ..kept_features.dataset import CachedStatesDataset
from ..model import SslProbe, pooled_states

logger = logging.getLogger(__name__)

CACHE_HELP = "keep what a frozen encoder gives for each clip on disk, so that it is computed once for all epochs"
CACHE_DIR_HELP = "folder of these features; default: state_cache below task.data"
CACHE_MAX_GIB_HELP = "features of a split that would take more are not kept"
# A padded batch that the encoder computes at once while features are kept, in samples.
FILL_BATCH_SAMPLES = 60 * 16_000
GIB = 2**30


class ProbeTask(SpeechTask):
    """Mixin before one of our audio tasks, for ``ssl_probe``.

    Features are kept only where the encoder always gives the same for a clip: not where it is trained along, and not
    where clips are cropped at random.
    """

    # whether heads give scores a frame, else a clip
    is_frame_level: bool
    model: SslProbe | None = None
    cfg: DictConfig

    def __init__(self, cfg: DictConfig, **kwargs: Any):
        super().__init__(cfg, **kwargs)
        self._filled: set[StateCache] = set()
        self._trained_on: Tensor | None = None  # (2, 32) uint8, of encoder and data

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As fairseq's.

        Raises:
            InputError: for another model than ``ssl_probe``, a head for other tasks, audio at another rate than the
                encoder's, or training in another precision than float32.
        """
        if not from_checkpoint and (trains_in_half(self.cfg) or self.cfg.amp):
            # half would be the features too; fairseq's composite optimizer has none of what its amp asks for
            raise InputError("probes train in float32: leave common.fp16, common.bf16 and common.amp off")
        if model_cfg._name != "ssl_probe":
            raise InputError(f"task {self.cfg._name} is for model._name=ssl_probe, not {model_cfg._name}")
        head = HEADS.get(model_cfg.head)
        if head is not None and head.is_frame_level != self.is_frame_level:
            fitting = ", ".join(name for name, other in HEADS.items() if other.is_frame_level == self.is_frame_level)
            raise InputError(f"model.head={model_cfg.head} is not for task {self.cfg._name}: choose one of {fitting}")
        model = super().build_model(model_cfg, from_checkpoint)
        if self.cfg.sample_rate != model.encoder.sample_rate_hz:
            raise InputError(
                f"task.sample_rate={self.cfg.sample_rate}: the encoder takes audio at {model.encoder.sample_rate_hz} "
                "Hz (files at other rates are resampled to it)"
            )
        with open_dict(model_cfg):  # for checkpoints, as fairseq does with w2v_args
            model_cfg.encoder_sha256 = model.cfg.encoder_sha256
        if not from_checkpoint:
            self._trained_on = torch.stack([_digest(_hash_of_weights(model.encoder)), self._data_digest()])
            model.trained_on.copy_(self._trained_on)
        self.model = model
        return model

    def _data_digest(self) -> Tensor:
        """(32,) of the rows and labels of training, wherever they lie."""
        folder, parts = Path(self.cfg.data), []
        for name in ("train.tsv", f"train.{self.cfg.labels}", f"dict.{self.cfg.labels}.txt"):
            content = (folder / name).read_bytes() if (folder / name).is_file() else b""
            parts.append(content.partition(b"\n")[2] if name == "train.tsv" else content)
        return _digest(*parts)

    def check_trained_on(self) -> None:
        """Raises InputError where the checkpoint that was taken up is of another encoder or other training data."""
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
        """The waveforms of a split, or their hidden states once these are computed."""
        self.check_lengths(split, manifest)
        audio = SegmentDataset(manifest, **options)
        cache = self._new_cache(split, manifest) if self.keeps_states(split, manifest) else None
        return audio if cache is None else CachedStatesDataset(audio, cache)

    def check_lengths(self, split: str, manifest: Manifest) -> None:
        """Raises InputError for clips too short for the head."""
        min_frames = self.model.head.min_frames
        min_samples = self.model.encoder.min_samples(min_frames)
        short = (manifest.sizes < min_samples).nonzero()[0]
        if len(short):
            raise InputError(
                f"{len(short)} clips of {manifest.path} are shorter than the {seconds_up(min_samples):g} s "
                f"({min_frames} frames) that {type(self.model.head).__name__} takes, {manifest.name(int(short[0]))} "
                f"first: make the manifest with --min-seconds {seconds_up(min_samples):g}, or set "
                f"task.min_sample_size={min_samples}"
            )

    def keeps_states(self, split: str, manifest: Manifest) -> bool:
        """Whether the features of a split may be kept and should be."""
        max_samples = self.cfg.max_sample_size
        cropped = max_samples is not None and int(manifest.sizes.max()) > max_samples
        return bool(self.cfg.cache and self.model.freeze and not cropped)

    def _cache_of(self, manifest: Manifest) -> StateCache:
        """The cache for what the encoder gives now."""
        model = self.model
        pooled = model.head.takes_mean
        what = f"{'pooled' if pooled else 'frames'}, layer_norm={model.layer_norm}, normalize={self.cfg.normalize}"
        rows = [manifest.root, manifest.sizes.tobytes(), manifest.offsets.tobytes()]
        rows += [part for clip in manifest for part in (clip.name, _stamp(clip.path))]
        key = cache_key(what, repr(model.encoder.spec.to_dict()), _hash_of_weights(model.encoder), *rows)
        folder = Path(self.cfg.cache_dir or Path(self.cfg.data) / "state_cache").absolute()
        return StateCache(folder, key, len(manifest), model.encoder.num_states, model.encoder.state_dim)

    def _new_cache(self, split: str, manifest: Manifest) -> StateCache | None:
        """That cache, unless it would be too large."""
        cache = self._cache_of(manifest)
        gib = cache.needed_bytes(manifest.sizes, self._samples_per_row(manifest)) / GIB
        if gib > self.cfg.cache_max_gib:
            logger.warning(
                "the features of %s would take %.2g GiB, more than task.cache_max_gib=%g: they are computed anew in "
                "every epoch",
                split,
                gib,
                self.cfg.cache_max_gib,
            )
            return None
        return cache

    def _samples_per_row(self, manifest: Manifest) -> float:
        """Samples of a clip to a row of its features: those of a frame, or of the longest clip."""
        encoder = self.model.encoder
        if self.model.head.takes_mean:
            return float(manifest.sizes.max())
        return encoder.sample_rate_hz / encoder.frame_rate_hz

    def get_batch_iterator(self, dataset: Any, max_tokens: Any = None, **kwargs: Any) -> Any:
        """As fairseq's; features are computed first, by the model where it is then: on its GPU.

        Raises:
            InputError: for a checkpoint of another encoder or other data, a clip whose features are not finite, or a
                disk too small.
        """
        # the first call after fairseq has loaded a checkpoint
        self.check_trained_on()
        self.fill_cache(dataset)
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **kwargs)

    def fill_cache(self, dataset: Any) -> None:
        """Compute what a dataset's cache lacks, if it has one."""
        while dataset is not None and not isinstance(dataset, CachedStatesDataset):
            dataset = getattr(dataset, "dataset", None)
        if dataset is None or dataset.cache in self._filled:
            return
        audio, model = dataset.dataset, self.model
        # a run that is taken up again has its encoder's weights since the dataset was made
        dataset.cache = self._cache_of(audio.manifest)
        device = next(model.parameters()).device
        pooled = model.head.takes_mean

        def read(index: int) -> Any:
            return audio[index]["source"].numpy()

        @torch.no_grad()
        def encode(source: Tensor, padding_mask: Tensor) -> tuple[Tensor, list[int]]:
            source, padding_mask = source.to(device), padding_mask.to(device)
            states, frame_padding = model.encode(source, padding_mask)
            if pooled:
                states, frame_padding = pooled_states(states, frame_padding), None
            # (B, T, D) for each state -> (B, S, T, D)
            stacked = torch.stack([state.float() for state in states], 1).cpu()
            if frame_padding is None:
                return stacked, [stacked.size(2)] * stacked.size(0)
            return stacked, (~frame_padding).sum(1).tolist()

        training = model.training
        model.eval()
        try:
            dataset.cache.fill(
                read,
                encode,
                audio.sizes,
                FILL_BATCH_SAMPLES,
                audio.manifest.path.stem,
                names=audio.fnames,
                min_samples=model.encoder.min_samples(),
                samples_per_frame=self._samples_per_row(audio.manifest),
            )
        finally:
            model.train(training)
        self._filled.add(dataset.cache)


def _digest(*parts: str | bytes) -> Tensor:
    """(32,) uint8, SHA-256 of the parts."""
    return torch.tensor(list(bytes.fromhex(cache_key(*parts))), dtype=torch.uint8)


def _stamp(path: Path) -> str:
    """Size and time of a file: another file of the same name and length has other features."""
    try:
        status = path.stat()
    except OSError:  # reading it will say
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _hash_of_weights(module: nn.Module) -> bytes:
    """SHA-256 of a module's parameters and buffers with their names, as far as its state holds them."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        # one after the other: a large encoder's are not copied all at once
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.digest()
