"""Checks before a training starts: manifests, labels and batch limits, each problem told in one line."""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .ctc_path import frames_needed
from .manifest import Manifest, archive_and_position, read_labels
from .reading import seconds_up

logger = logging.getLogger(__name__)

# Characters of a label that a message shows.
_SHOWN = 40


def check_data_folder(data_dir: str) -> None:
    """Raises InputError if there is no such folder."""
    if not Path(data_dir).is_dir():
        raise InputError(f"task.data={data_dir}: no such folder; it must hold the manifests (train.tsv, valid.tsv)")


def check_sample_rate(sample_rate_hz: int, wanted_hz: int) -> None:
    """Raises InputError if ``task.sample_rate`` is another rate than the encoder's."""
    if sample_rate_hz != wanted_hz:
        raise InputError(
            f"task.sample_rate={sample_rate_hz}: the encoder takes audio at {wanted_hz} Hz (files at other rates are "
            "resampled to it)"
        )


def check_first_clip(manifest: Manifest) -> None:
    """Raises InputError if the first clip of a manifest is missing or not below its root: then most are."""
    first = manifest[0]
    first.check_inside()
    if not os.path.exists(archive_and_position(first.path)[0]):
        raise InputError(
            f"{manifest.path}: first clip {first.path} does not exist; has the audio moved? Line 1 names its root"
        )


def check_lengths(manifest: Manifest, min_samples: int, taker: str) -> None:
    """Raises InputError for clips of fewer samples than ``taker`` takes."""
    short = np.flatnonzero(manifest.sizes < min_samples)
    if len(short):
        raise InputError(
            f"{len(short)} of {len(manifest)} clips of {manifest.path} are shorter than the "
            f"{seconds_up(min_samples):g} s that {taker} takes, {manifest.name(int(short[0]))} first: make the "
            f"manifest with --min-seconds {seconds_up(min_samples):g}, or set task.min_sample_size={min_samples}"
        )


def warn_of_long_transcripts(path: Path, lines: Mapping[int, str], num_frames: Iterable[int]) -> None:
    """Warn of transcripts of the file ``path``, by the number of their line, that are longer than their clips' frames.

    CTC has no path for them: their loss is infinite, or 0 for ever with ``criterion.zero_infinity``.
    """
    needed = ((number, frames_needed(line.split())) for number, line in lines.items())
    long = [(*one, int(frames)) for one, frames in zip(needed, num_frames) if one[1] > frames]
    if long:
        logger.warning(
            "%s: %d of %d transcripts need more frames than their clips have, line %d first (%d for its symbols and "
            "repeats, %d there): nothing is learnt from them; are they those of other clips?",
            *(path, len(long), len(lines), *long[0]),
        )


def check_labels(
    data_dir: str, split: str, extension: str | None, dictionary: Any, num_rows: int, *, one_class: bool = False
) -> list[str]:
    """Check a split's transcripts or classes against its number of rows and its dictionary.

    Args:
        dictionary: fairseq's ``Dictionary``, or None.
        one_class: whether a row has one class, and not a transcript.

    Returns:
        The transcripts or classes, one a row.

    Raises:
        InputError: for labels that are missing or do not match the rows, a row without exactly one class, or, in a
            training split, an empty transcript or a symbol that the dictionary lacks. In other splits these are only
            warned of: the model makes errors.
    """
    if extension is None:
        raise InputError("task.labels is not set: name the extension of the label files (ltr)")
    path = Path(data_dir) / f"{split}.{extension}"
    labels = read_labels(path, num_rows)
    with open(path, "rb") as file:
        is_marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    if is_marked and dictionary is not None:  # else it is not fairseq that reads them
        raise InputError(f"{path} begins with a byte-order mark, which fairseq takes for a letter: remove it")
    if one_class:
        for number, line in enumerate(labels, start=1):
            if len(line.split()) != 1:
                raise InputError(f"{path}, line {number}: {line[:_SHOWN]!r} is not one class (a word without spaces)")
        labels = [line.strip() for line in labels]
    empty = [number for number, line in enumerate(labels, start=1) if not line.strip()]
    if empty and split.startswith("train"):
        raise InputError(
            f"{path}, line {empty[0]}: the transcript is empty ({len(empty)} are); take these rows out of labels and "
            "manifest (`summarymixing manifest` leaves such clips out)"
        )
    if empty:
        logger.warning("%s: %d transcripts are empty, line %d first", path, len(empty), empty[0])
    unknown: dict[str, int] = {}  # the first line of each symbol
    for number, line in enumerate(labels if dictionary is not None else [], start=1):
        for symbol in line.split():
            if symbol not in dictionary:
                unknown.setdefault(symbol, number)
    if unknown:
        symbol, number = next(iter(unknown.items()))
        what = f"{symbol[:_SHOWN]!r} is not in dict.{extension}.txt"
        if split.startswith("train"):
            raise InputError(
                f"{path}, line {number}: {what}; add it there before training, or take it out of the labels"
            )
        message = "%s: %d symbols are not in dict.%s.txt and always count as errors, first %r in line %d"
        logger.warning(message, path, len(unknown), extension, symbol[:_SHOWN], number)
    return labels


def check_uncropped(manifest: Manifest, max_samples: int | None) -> None:
    """Check that ``task.max_sample_size`` crops no clip that has a transcript: the transcript would stay whole.

    Raises:
        InputError: with the number of clips that are longer, and the name of the first.
    """
    longer = np.flatnonzero(manifest.sizes > (manifest.sizes.max() if max_samples is None else max_samples))
    if len(longer):
        raise InputError(
            f"task.max_sample_size={max_samples} would crop {len(longer)} of {len(manifest)} clips of {manifest.path}, "
            f"{manifest.name(int(longer[0]))} first, under their whole transcripts: unset it; to leave long clips out, "
            "make the manifest with --max-seconds"
        )


def check_batch_limit(dataset: Any, max_tokens: int | None, may_crop: bool = True) -> None:
    """Check that a batch can hold the longest clip; fairseq would fail with a bare assertion.

    Args:
        may_crop: whether a clip means the same when it is cropped, as one with a transcript does not.

    Raises:
        InputError: naming the limit and the longest clip.
    """
    sizes = np.asarray(getattr(dataset, "sizes", []))
    if max_tokens and sizes.size and sizes.max() > max_tokens:
        crop = f"crop by task.max_sample_size={max_tokens}, " if may_crop else ""
        raise InputError(
            f"dataset.max_tokens={max_tokens} samples is less than the longest clip ({int(sizes.max())} samples, "
            f"{sizes.max() / SAMPLE_RATE_HZ:.1f} s): raise it, {crop}or leave longer clips out "
            "(--max-seconds when making the manifest)"
        )
