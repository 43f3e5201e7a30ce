"""Where speech is in a recording, by silero-vad's model (https://github.com/snakers4/silero-vad, MIT)."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ..writing.options import ManifestOptions
from ..writing.rows import Clip, Refusal
from .segments import Interval

if TYPE_CHECKING:
    from torch.nn import Module

_MODEL_RATE_HZ = 16_000


def find_speech(root: Path, clips: Sequence[Clip], options: ManifestOptions) -> Iterator[list[Interval] | Refusal]:
    """Stretches of speech of each clip, [start, end] in seconds from its start; or why it cannot be decoded.

    Raises:
        InputError: where silero-vad is not installed.
    """
    if find_spec("silero_vad") is None:
        raise InputError("silero-vad is missing: pip install 'summarymixing-fairseq[vad]'")
    find = functools.partial(_find, root=os.path.abspath(root), sample_rate_hz=options.rules.sample_rate_hz)
    return parallel_iter(find, clips, workers=options.workers, description="finding speech", items_per_worker=2)


@functools.cache
def _model() -> Module:
    """The model of this process. Importing silero-vad sets torch to one thread, which suits one process a CPU."""
    from silero_vad import load_silero_vad

    return load_silero_vad()


def _find(clip: Clip, root: str, sample_rate_hz: int) -> list[Interval] | Refusal:
    import torch
    from silero_vad import get_speech_timestamps

    from ...data.audio import read_segment

    try:
        # the model's own rate, whatever the manifest's
        num_samples = -(-clip.num_samples * _MODEL_RATE_HZ // sample_rate_hz)
        samples = read_segment(Path(root, clip.path), 0, num_samples, sample_rate_hz=_MODEL_RATE_HZ)
    except InputError as error:
        return Refusal(clip.path, "cannot be decoded", str(error))
    with torch.no_grad():
        found = get_speech_timestamps(torch.from_numpy(samples), _model(), sampling_rate=_MODEL_RATE_HZ)
    return [(one["start"] / _MODEL_RATE_HZ, one["end"] / _MODEL_RATE_HZ) for one in found]
