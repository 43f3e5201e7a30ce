"""What `summarymixing decode --stream` does with the raw audio of a microphone on stdin."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from ..system.errors import InputError, printable
from ..system.strict_json import to_json
from ..system.units import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch

    from ..data.alignments import Interval

# what files begin with that are no raw samples
_FILES = {b"RIFF": "a wav", b"fLaC": "a flac", b"OggS": "an ogg", b"ID3": "an mp3"}
_BYTES_AT_ONCE = 2 * SAMPLE_RATE_HZ  # at most; what is there is taken


def check_options(args: argparse.Namespace) -> None:
    """Raises InputError for options that need whole clips."""
    given_options = {"--lm": args.lm, "--results": args.results, "--tune": args.tune, "--skip-bad": args.skip_bad}
    for option, given in {**given_options, "--n-best": args.n_best > 1}.items():
        if given:
            raise InputError(f"{option} needs whole clips: name them, or leave it out for a microphone on stdin")
    if args.format not in ("txt", "json"):
        raise InputError(f"--format {args.format} needs whole clips: a microphone's words go out as txt or json")


def decode_microphone(args: argparse.Namespace, device: torch.device) -> None:
    """Print words as they are spoken, until the audio or the user ends it.

    Raises:
        InputError: for a model that does not stream, a terminal on stdin, an audio file there, or nothing.
    """
    if sys.stdin.isatty():
        raise InputError("stdin is a terminal: name clips, or pipe raw samples in (arecord -t raw -f S16_LE -r 16000)")

    from ..checkpoints.streaming import load_streaming_recogniser

    recogniser = load_streaming_recogniser(args.checkpoint, device, chunk_ms=args.chunk_ms)
    print(f"listening: 16-bit samples at {SAMPLE_RATE_HZ} Hz, one channel, on stdin", file=sys.stderr)
    num_samples, seconds = 0, 0.0
    handler = signal.signal(signal.SIGINT, _hang_up)
    try:
        for samples in _samples():
            started = time.perf_counter()
            words = recogniser.push(samples)
            seconds += time.perf_counter() - started
            num_samples += len(samples)
            _show(words, args.format)
    finally:
        signal.signal(signal.SIGINT, handler)
    if not num_samples:
        raise InputError("no audio came on stdin: pipe raw samples in (arecord -t raw -f S16_LE -r 16000)")
    started = time.perf_counter()
    words = recogniser.finish()
    seconds += time.perf_counter() - started
    _show(words, args.format)
    if args.format == "txt":
        print()
    heard = num_samples / SAMPLE_RATE_HZ
    print(f"{heard:.1f} s of audio, real-time factor {seconds / heard:.4f}", file=sys.stderr)


def _hang_up(*_: object) -> None:
    """Ctrl-C ends stdin, as a closed pipe does: what was heard before is still turned into words."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _samples() -> Iterator[np.ndarray]:
    """(num_samples,) int16 each, as they come. Raises InputError for an audio file."""
    import numpy as np

    rest, is_first = b"", True
    while part := sys.stdin.buffer.read1(_BYTES_AT_ONCE):  # type: ignore[union-attr]
        rest += part
        if len(rest) < 4:
            continue
        if is_first and rest.startswith(tuple(_FILES)):
            kind = next(kind for start, kind in _FILES.items() if rest.startswith(start))
            raise InputError(f"stdin is {kind} file: name it as a clip (-), or pipe raw samples in")
        is_first, whole = False, len(rest) // 2 * 2
        yield np.frombuffer(rest[:whole], "<i2")
        rest = rest[whole:]
    if len(rest) >= 2:
        yield np.frombuffer(rest[: len(rest) // 2 * 2], "<i2")


def _show(words: Sequence[Interval], form: str) -> None:
    from ..data.transcript_files import word_as_json

    for word in words:
        if form == "json":
            print(to_json(word_as_json(word)))
        else:
            print(printable(word.label), end=" ")
    if words:
        sys.stdout.flush()
