"""Speech from text with espeak-ng: deterministic, offline, more than a hundred languages.

The library and its voices come in the `espeakng-loader` wheel and are called through ctypes.
"""

from __future__ import annotations

import ctypes
import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()

# Listed by espeak-ng, but the wheel lacks their dictionaries: nothing is spoken, and no error reported.
_WITHOUT_DICTIONARY = {"fo", "kaa", "xex"}
_SHORTEST_SPEECH_SECONDS = 0.02


class SynthesiserError(Exception):
    """Speech could not be made: one line that says what is missing or unknown."""


class _Voice(ctypes.Structure):
    """espeak_VOICE of speak_lib.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # pairs of a priority byte and a language code; a 0 byte ends them
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


def speak(
    text: str,
    voice: str = "en-us",
    *,
    sample_rate_hz: int = 16000,
    words_per_minute: int = 165,
    pitch: int = 50,
) -> np.ndarray:
    """Speak `text`: float32 samples in [-1, 1], shape (num_samples,), mono.

    `voice` is a language code of `voices()`, with a variant of `variants()` after a plus where wanted
    (`en-us+f3`, `cy+m2`). `words_per_minute` goes from 80 to 450, `pitch` from 0 to 100. The same
    arguments give the same samples, whatever was spoken before.
    """
    import numpy as np

    soxr = _import("soxr")
    if not text.strip():
        raise SynthesiserError("there is no text to speak")
    if not 80 <= words_per_minute <= 450:
        raise SynthesiserError(f"words_per_minute {words_per_minute} must be from 80 to 450")
    if not 0 <= pitch <= 100:
        raise SynthesiserError(f"pitch {pitch} must be from 0 to 100")
    language, plus, variant = voice.partition("+")
    if plus and variant not in variants():
        # espeak-ng itself would pass over an unknown variant in silence.
        raise SynthesiserError(f"voice '{voice}' has no variant '{variant}': see synthesiser.variants()")
    blocks: list[np.ndarray] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short], num_samples: int, _events: int) -> int:
        if samples and num_samples > 0:
            blocks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0

    with _fresh_library() as (library, espeak_rate_hz):
        callback = _CALLBACK(collect)
        library.espeak_SetSynthCallback(callback)
        if not language or library.espeak_SetVoiceByName(voice.encode("utf-8")) != 0:
            raise SynthesiserError(f"unknown voice '{voice}': synthesiser.voices() lists those there are")
        library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        encoded = text.encode("utf-8") + b"\0"
        size = ctypes.c_size_t(len(encoded))
        status = library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        if status == 0:
            status = library.espeak_Synchronize()
    num_spoken = sum(len(block) for block in blocks)
    if status != 0 or num_spoken < _SHORTEST_SPEECH_SECONDS * espeak_rate_hz:
        raise SynthesiserError(f"espeak-ng could not speak {text[:40]!r} with voice '{voice}'")
    samples = np.concatenate(blocks).astype(np.float32) / 32768.0
    if sample_rate_hz != espeak_rate_hz:
        # Resampling overshoots a little where the signal is at its limit.
        samples = np.clip(soxr.resample(samples, espeak_rate_hz, sample_rate_hz), -1.0, 1.0)
    return samples.astype(np.float32, copy=False)


@functools.lru_cache(maxsize=1)
def voices() -> tuple[str, ...]:
    """The language codes that `speak` takes, sorted."""
    codes = set()
    with _fresh_library() as (library, _):
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        entries = library.espeak_ListVoices(None)
        index = 0
        while entries[index]:
            address = entries[index].contents.languages
            while ctypes.string_at(address, 1) != b"\0":
                code = ctypes.string_at(address + 1)
                codes.add(code.decode("utf-8"))
                address += len(code) + 2
            index += 1
        # Some listed codes (such as en-gb) are only found by a search for properties, not as a name.
        candidates = codes - _WITHOUT_DICTIONARY
        spoken = [code for code in candidates if library.espeak_SetVoiceByName(code.encode("utf-8")) == 0]
    return tuple(sorted(spoken))


@functools.lru_cache(maxsize=1)
def variants() -> tuple[str, ...]:
    """The voice variants (`f1`, `m3`, `croak`, ...) that can follow a language code and a plus."""
    folder = Path(_import("espeakng_loader").get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir() if re.fullmatch(r"[\w-]+", path.name)))


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library, newly loaded, and its sample rate in Hz.

    espeak-ng keeps the phase of its flutter and of its waves in static variables from one utterance to
    the next, and seeds its noise from the clock. Only unloading it resets the first (4 ms), and only
    `espeak_ng_SetRandSeed` the second; both are needed for the same samples each time.
    """
    loader = _import("espeakng_loader")
    with _lock:
        data_path = loader.get_data_path()
        library = ctypes.CDLL(loader.get_library_path())
        try:
            rate_hz = library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data_path).encode("utf-8"), _INITIALIZE_DONT_EXIT
            )
            if rate_hz <= 0:
                # Its buffer for this path holds 160 bytes, which a deep virtual environment can exceed.
                raise SynthesiserError(
                    f"espeak-ng cannot use its data at {data_path}: is the folder whole, and its path short?"
                )
            library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
            library.espeak_ng_SetRandSeed(1)
            yield library, rate_hz
            library.espeak_Terminate()
        finally:
            _unload(library)


def _unload(library: ctypes.CDLL) -> None:
    import _ctypes

    close = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # the latter on Windows
    close(library._handle)


def _import(name: str):
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        wheel = name.replace("_", "-")
        raise SynthesiserError(
            f"the wheel {wheel} is missing: pip install 'summarymixing-fairseq[quickstart]'"
        ) from None
