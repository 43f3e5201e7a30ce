"""Hidden states of clips in files: one .npy a clip, or one safetensors file with the clips' names as keys.

A run that was killed goes on. While it is at work ``[SPLIT.]features.part.json`` in the folder holds its settings and
clips, and what is newer than this file is of this run. At its end ``[SPLIT.]features.json`` holds the settings. Clips
of a safetensors file lie in ``[SPLIT.]features.part`` until all are computed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from ..system.errors import InputError, printable
from ..system.files import atomic_write, refuse_existing
from ..system.strict_json import to_json
from .clip_states import states_of_clips
from .manifest import Clip, archive_and_position, size_and_time

# What safetensors calls a type, and the bytes of a number.
_DTYPES = {"float32": ("F32", 4), "float16": ("F16", 2)}
_CLIPS = "clips_sha256"


def feature_names(clips: Sequence[Clip]) -> list[str]:
    """Names of the clips' features: without folders if a path is absolute or has `..` in it, and without extension.

    A row FILE.tar:OFFSET:LENGTH keeps its whole name, as only its end tells the clips of an archive apart.

    Raises:
        InputError: if two clips would be written to one name.
    """
    clip_of_name: dict[str, str] = {}
    for clip in clips:
        path = Path(clip.output_name)
        if path.is_absolute() or ".." in path.parts:
            path = Path(path.name)
        name = str(path if archive_and_position(clip.path)[1] else path.with_suffix(""))
        if name in clip_of_name:
            raise InputError(f"{clip.output_name} and {clip_of_name[name]} would both be written as {name}: rename one")
        clip_of_name[name] = clip.output_name
    return list(clip_of_name)


class FeatureFiles:
    """Where the features of some clips go.

    Args:
        folder: of the files; split: of the manifest, or None for audio files.
        one_file: whether they go to one safetensors file.
        dtype: of the numbers, float32 or float16.

    Raises:
        InputError: if two clips would be written to one name.
    """

    def __init__(self, clips: Sequence[Clip], folder: Path, split: str | None, one_file: bool, dtype: str):
        self.clips, self.dtype, self._names = clips, dtype, feature_names(clips)
        stem = f"{split}.features" if split else "features"
        self.archive = folder / f"{split or 'features'}.safetensors" if one_file else None
        self._part, self._about = folder / f"{stem}.part.json", folder / f"{stem}.json"
        self._parts = folder / f"{stem}.part"
        self._arrays = [(self._parts if one_file else folder) / f"{name}.npy" for name in self._names]
        rows = [
            [str(clip.path), size_and_time(clip.path), clip.output_name, clip.offset, clip.num_samples]
            for clip in clips
        ]
        self._run = {
            "format": "safetensors" if one_file else "npy",
            _CLIPS: hashlib.sha256(to_json(rows).encode()).hexdigest(),
        }

    def check_places(self, force: bool) -> None:
        """Look at the places of the outputs, before a checkpoint is read.

        Raises:
            InputError: for files that are there already, without ``force`` and without a run that has not ended.
        """
        if force or not self._part.exists():
            refuse_existing([self.archive] if self.archive else self._arrays, force)

    def begin(self, about: Mapping[str, Any], force: bool) -> list[int]:
        """Compare with an earlier run, before anything is computed; nothing is written.

        Args:
            about: the settings, which are written beside the features; force: replace what is there.

        Returns:
            Positions of the clips that are to be computed: those that a run which has not ended has left.

        Raises:
            InputError: if the earlier run had other settings, or, where it has not ended, other clips.
        """
        if force:
            return list(range(len(self.clips)))
        begun = _read(self._part)
        if begun is None:
            _refuse_others(self._about, _read(self._about), about)
            return list(range(len(self.clips)))
        _refuse_others(self._part, begun, {**about, **self._run})
        began = self._part.stat().st_mtime_ns
        return [i for i, path in enumerate(self._arrays) if not _is_whole(path, began)]

    def write(
        self,
        about: Mapping[str, Any],
        missing: Sequence[int],
        extract_batch: Callable[[list[np.ndarray]], list[Tensor]],
        min_samples: int,
        batch_seconds: float,
    ) -> None:
        """Extract and write hidden states; memory holds those of a batch.

        Args:
            about, missing: given to ``begin``, and what it returned.
            extract_batch: from waveforms, (num_samples,) at 16 kHz each, to hidden states of any shape.
            min_samples: length of the shortest clip that gives a frame; batch_seconds: of a padded batch.

        Raises:
            InputError: for a clip that cannot be read, gives no frame or states that are not finite, in float16 too, or
                an output that cannot be written.
        """
        chosen = [self.clips[i] for i in missing]
        has_begun = len(missing) < len(self.clips)
        for number, states in states_of_clips(chosen, extract_batch, min_samples, batch_seconds):
            if not has_begun:  # all headers have been read by now
                with atomic_write(self._part) as file:
                    file.write(to_json({**about, **self._run}, indent=2) + "\n")
                has_begun = True
            with np.errstate(over="ignore"):  # that is an error below
                values = states.numpy().astype(self.dtype, copy=False)
            if not np.isfinite(values).all():
                raise InputError(f"{chosen[number].path}: its hidden states exceed {self.dtype}: use --dtype float32")
            with atomic_write(self._arrays[missing[number]], "wb") as file:
                # Through Python's write: numpy's own does not say why it has failed.
                np.save(SimpleNamespace(write=file.write), values)
        if self.archive:
            self._join(self.archive, about)
        with atomic_write(self._about) as file:
            file.write(to_json(about, indent=2) + "\n")
        self._part.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)

    def _join(self, archive: Path, about: Mapping[str, Any]) -> None:
        """Put the clips' files into one, clip by clip, by the format's own description."""
        # keys are UTF-8, which names of files need not be
        header: dict[str, Any] = {"__metadata__": {name: str(value) for name, value in about.items()}}
        kind, num_bytes = _DTYPES[self.dtype]
        end = 0
        for name, path in zip(self._names, self._arrays):
            shape = np.load(path, mmap_mode="r").shape
            start, end = end, end + math.prod(shape) * num_bytes
            header[printable(name)] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        text = to_json(header).encode()
        text += b" " * (-len(text) % 8)
        with atomic_write(archive, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for path in self._arrays:
                file.write(np.load(path).tobytes())


def _is_whole(path: Path, began_ns: int) -> bool:
    """Whether a clip's file is of this run and not cut short, as after a power cut."""
    try:
        return path.stat().st_mtime_ns > began_ns and np.load(path, mmap_mode="r").size > 0
    except (EOFError, OSError, ValueError):
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """What a run has written of itself; None where there is no such file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def _refuse_others(path: Path, found: Mapping[str, Any] | None, about: Mapping[str, Any]) -> None:
    """Raises InputError if a run has written other settings to ``path``."""
    if found is None or found == about:
        return
    name = next(name for name in [*about, *found] if found.get(name) != about.get(name))
    differs = "its clips are others" if name == _CLIPS else f"{name} {found.get(name)}, and not {about.get(name)}"
    raise InputError(f"{path} is of another run ({differs}): choose another place, or start anew by --force")
