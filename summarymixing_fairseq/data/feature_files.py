"""Hidden states of clips in files: one .npy a clip, or one safetensors file with the clips' names as keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save
from torch import Tensor

from ..system.errors import InputError, printable
from ..system.files import atomic_write
from .clip_states import states_of_clips
from .manifest import Clip, archive_and_position


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


def write_features(
    clips: Sequence[Clip],
    outputs: Sequence[Path] | Path,
    extract_batch: Callable[[list[np.ndarray]], list[Tensor]],
    min_samples: int,
    batch_seconds: float,
    metadata: dict[str, str],
) -> None:
    """Extract and write the hidden states of clips.

    Args:
        outputs: a .npy file for each clip, or one safetensors file for all.
        extract_batch: from waveforms, (num_samples,) at 16 kHz each, to hidden states of any shape.
        min_samples: length of the shortest clip that gives a frame; batch_seconds: of a padded batch.
        metadata: of the safetensors file.

    Raises:
        InputError: for a clip that cannot be read, gives no frame or states that are not finite, or an output that
            cannot be written.
    """
    gathered = dict.fromkeys(feature_names(clips), np.zeros(0))
    names = list(gathered)
    for i, states in states_of_clips(clips, extract_batch, min_samples, batch_seconds):
        if isinstance(outputs, Path):
            gathered[names[i]] = np.ascontiguousarray(states.numpy())  # safetensors writes what lies in memory
            continue
        with atomic_write(outputs[i], "wb") as file:
            # Through Python's write: numpy's own does not say why it has failed.
            np.save(SimpleNamespace(write=file.write), states.numpy())
    if isinstance(outputs, Path):
        with atomic_write(outputs, "wb") as file:
            # keys are UTF-8, which names of files need not be
            file.write(save({printable(name): states for name, states in gathered.items()}, metadata))
