"""What `summarymixing decode --stream` does with the raw audio of a microphone on stdin."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

from ..system.errors import InputError, printable
from ..system.strict_json import to_json
from ..system.units import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch

    from ..data.alignments import Interval

_BYTES_AT_ONCE = 2 * SAMPLE_RATE_HZ  # at most; what is there is taken


def check_options(args: argparse.Namespace) -> None:
    """Raises InputError for options that need whole clips."""
    for option, given in (("--lm", args.lm), ("--results", args.results), ("--tune", args.tune)):
        if given:
            raise InputError(f"{option} needs whole clips: name them, or leave it out for a microphone on stdin")
    if args.format not in ("txt", "json"):
        raise InputError(f"--format {args.format} needs whole clips: a microphone's words go out as txt or json")


def decode_microphone(args: argparse.Namespace, device: torch.device) -> None:
    """Print words as they are spoken, until the audio or the user ends it.

    Raises:
        InputError: for a model that does not stream.
    """
    from ..checkpoints.streaming import load_streaming_recogniser

    recogniser = load_streaming_recogniser(args.checkpoint, device, chunk_ms=args.chunk_ms)
    print(f"listening: 16-bit samples at {SAMPLE_RATE_HZ} Hz, one channel, on stdin", file=sys.stderr)
    num_samples, seconds = 0, 0.0
    try:
        for samples in _samples(sys.stdin.buffer):
            started = time.perf_counter()
            words = recogniser.push(samples)
            seconds += time.perf_counter() - started
            num_samples += len(samples)
            _show(words, args.format)
    except KeyboardInterrupt:  # how one stops a microphone
        pass
    _show(recogniser.finish(), args.format)
    if args.format == "txt":
        print()
    heard = num_samples / SAMPLE_RATE_HZ
    print(f"{heard:.1f} s of audio, real-time factor {seconds / max(heard, 1e-9):.4f}", file=sys.stderr)


def _samples(stream: BinaryIO) -> Iterator[np.ndarray]:
    """(num_samples,) int16 each, as they come."""
    import numpy as np

    rest = b""
    read: Any = getattr(stream, "read1", stream.read)
    while part := read(_BYTES_AT_ONCE):
        rest += part
        whole = len(rest) // 2 * 2
        if whole:
            yield np.frombuffer(rest[:whole], "<i2")
        rest = rest[whole:]


def _show(words: Sequence[Interval], form: str) -> None:
    for word in words:
        print(to_json(asdict(word)) if form == "json" else printable(word.label), end="\n" if form == "json" else " ")
    if words:
        sys.stdout.flush()
