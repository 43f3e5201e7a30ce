"""Speech from text with espeak-ng: deterministic, offline, more than a hundred languages.

The library and its voices come in the `espeakng-loader` wheel and are called through ctypes.
"""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .alignments import Interval

# From espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 0x0001
_INITIALIZE_DONT_EXIT = 0x8000
_EVENT_LIST_TERMINATED = 0
_EVENT_WORD = 1
_EVENT_PHONEME = 7
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3

_SHORTEST_SPEECH_SECONDS = 0.02
# Of a phoneme's name: stress before it, and after it the number or sign of a variant.
_STRESS = "',%=|"
_VARIANT = re.compile(r"(?<=.)[0-9#-]+$")
# Begins what is no phone: a pause, and a change of the language, as "(en)".
_NO_PHONE = ("_", "(")
# Punctuation, symbols, separators, control characters: what is cut off the ends of a word.
_NO_LETTER = "PSZC"


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Phone:
    """A phone and when it is spoken.

    Attributes:
        name: in espeak-ng's spelling of the language, without stress and variants.
        start, end: in samples at the rate of the speech, not rounded.
    """

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Word:
    """A word, from the start of its first phone to the end of its last.

    Attributes:
        text: as written, without punctuation around it. Several words where espeak-ng speaks them as one ("of the").
        phones: one or more, in their order.
    """

    text: str
    phones: tuple[Phone, ...]

    @property
    def start(self) -> float:
        """In samples, as of phones."""
        return self.phones[0].start

    @property
    def end(self) -> float:
        """In samples, as of phones."""
        return self.phones[-1].end


def speak(
    text: str,
    voice: str = "en-us",
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    words_per_minute: int = 165,
    pitch: int = 50,
) -> np.ndarray:
    """Speak `text`. Equal arguments give equal samples, whatever was spoken before.

    Args:
        voice: a language code of espeak-ng, with a plus and one of `variants()` where wanted (`en-us+f3`, `cy+m2`).
        words_per_minute: 80 to 450; pitch: 0 to 100.

    Returns:
        float32 samples in [-1, 1], shape (num_samples,), mono.

    Raises:
        InputError: for an unknown voice, values out of range, or text that gives no speech.
    """
    return speak_timed(text, voice, sample_rate_hz=sample_rate_hz, words_per_minute=words_per_minute, pitch=pitch)[0]


def speak_timed(
    text: str,
    voice: str = "en-us",
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    words_per_minute: int = 165,
    pitch: int = 50,
) -> tuple[np.ndarray, list[Word]]:
    """``speak``, and the words with their phones, by the synthesiser's own times, not estimates. Pauses are none.

    A word is what stands between spaces. Every phone is in one word.
    """
    if not text.strip():
        raise InputError("there is no text to speak")
    if not 80 <= words_per_minute <= 450:
        raise InputError(f"words_per_minute {words_per_minute} must be from 80 to 450")
    if not 0 <= pitch <= 100:
        raise InputError(f"pitch {pitch} must be from 0 to 100")
    language, plus, variant = voice.partition("+")
    if plus and variant not in variants():  # espeak-ng itself ignores an unknown variant
        raise InputError(f"voice '{voice}' has no variant '{variant}': see synthesiser.variants()")
    blocks: list[np.ndarray] = []
    positions: list[int] = []  # in the text, of what is spoken as a word
    # Of phonemes and pauses: name, sample, and how many words have begun. The order of events tells this: a word's own
    # sample may lie a phone early.
    starts: list[tuple[str, int, int]] = []

    def collect(samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            blocks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        number = 0
        while events and events[number].type != _EVENT_LIST_TERMINATED:
            event = events[number]
            if event.type == _EVENT_WORD:
                positions.append(event.text_position - 1)
            if event.type == _EVENT_PHONEME:
                name = event.id.string.decode("utf-8", "replace").lstrip(_STRESS)
                starts.append((_VARIANT.sub("", name), event.sample, len(positions)))
            number += 1
        return 0

    with _fresh_library() as (library, espeak_rate_hz):
        callback = _CALLBACK(collect)
        library.espeak_SetSynthCallback(callback)
        if not language or library.espeak_SetVoiceByName(voice.encode("utf-8")) != 0:
            raise InputError(f"unknown voice '{voice}': give a language of espeak-ng, such as en-us or cy")
        library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        encoded = text.encode("utf-8") + b"\0"
        size = ctypes.c_size_t(len(encoded))
        status = library.espeak_Synth(encoded, size, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        if status == 0:
            status = library.espeak_Synchronize()
    num_spoken = sum(len(block) for block in blocks)
    if status != 0 or num_spoken < _SHORTEST_SPEECH_SECONDS * espeak_rate_hz:
        # some languages are listed but lack their dictionary in the wheel: nothing is spoken, and no error reported
        raise InputError(f"espeak-ng could not speak {text[:40]!r} with voice '{voice}'")
    samples = np.concatenate(blocks).astype(np.float32) / 32768.0
    if sample_rate_hz != espeak_rate_hz:
        # resampling overshoots a little where the signal is at its limit
        samples = np.clip(soxr.resample(samples, espeak_rate_hz, sample_rate_hz), -1.0, 1.0)
    factor = sample_rate_hz / espeak_rate_hz
    written = list(re.finditer(r"\S+", text))
    numbers = _written_numbers(written, positions)
    phones: dict[int, list[Phone]] = {}  # by number of the written word
    for (name, start, begun), end in zip(starts, [start for _, start, _ in starts[1:]] + [num_spoken]):
        if not name.startswith(_NO_PHONE) and end > start:
            phones.setdefault(numbers[begun], []).append(Phone(name, start * factor, end * factor))
    return samples.astype(np.float32, copy=False), _words([word.group() for word in written], phones)


def tiers_of(words: Sequence[Word]) -> dict[str, tuple[Interval, ...]]:
    """Phones and words at 16 kHz as an ``Alignment`` has them."""
    tiers: dict[str, list[tuple[str, Phone | Word]]] = {
        "phones": [(phone.name, phone) for word in words for phone in word.phones],
        "words": [(word.text, word) for word in words],
    }
    return {
        tier: tuple(Interval(label, one.start / SAMPLE_RATE_HZ, one.end / SAMPLE_RATE_HZ) for label, one in these)
        for tier, these in tiers.items()
    }


def _written_numbers(written: Sequence[re.Match[str]], positions: Sequence[int]) -> list[int]:
    """Numbers of the written words that are spoken at `positions`, with a first one for what is spoken before them.

    espeak-ng may speak a written word as several (numbers). After a full stop that ends no sentence, a word's position
    is one too low.
    """
    starts = [word.start() for word in written]
    numbers = [0]
    for position, following in zip(positions, [*positions[1:], -1]):
        number = bisect_right(starts, position) - 1
        if position >= written[number].end() and number + 1 < len(written) and following != starts[number + 1]:
            number += 1
        numbers.append(max(number, numbers[-1]))
    return numbers


def _words(written: Sequence[str], phones: dict[int, list[Phone]]) -> list[Word]:
    """Words with their phones by number. One without phones was spoken with the one before it."""
    numbers = sorted(phones)
    words = []
    for first, number, end in zip([0, *numbers[1:]], numbers, [*numbers[1:], len(written)]):
        text = " ".join(filter(None, map(_without_punctuation, written[first:end])))
        words.append(Word(text or written[number], tuple(phones[number])))
    return words


def _without_punctuation(word: str) -> str:
    inside = [number for number, char in enumerate(word) if unicodedata.category(char)[0] not in _NO_LETTER]
    return word[inside[0] : inside[-1] + 1] if inside else ""


@functools.lru_cache(maxsize=1)
def variants() -> tuple[str, ...]:
    """The voice variants (`f1`, `m3`, `croak`, ...) that can follow a language code and a plus."""
    folder = Path(_espeak().get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir() if re.fullmatch(r"[\w-]+", path.name)))


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library, newly loaded, and its sample rate in Hz.

    espeak-ng keeps state from one utterance to the next: the phases of its oscillators are static variables, and its
    noise is seeded from the clock. Only unloading the library resets the phases (4 ms); `espeak_ng_SetRandSeed` sets
    the seed.
    """
    data_path = _espeak().get_data_path()
    library = ctypes.CDLL(_espeak().get_library_path())
    try:
        rate_hz = library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS,
            0,
            str(data_path).encode("utf-8"),
            _INITIALIZE_DONT_EXIT | _INITIALIZE_PHONEME_EVENTS,
        )
        if rate_hz <= 0:
            # its buffer for the path holds 160 bytes: a deep virtual environment can exceed that
            raise InputError(f"espeak-ng cannot use its data at {data_path}: is the folder whole, and its path short?")
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        library.espeak_ng_SetRandSeed(1)
        yield library, rate_hz
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


def _espeak() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise InputError(
            "the wheel espeakng-loader is missing: pip install 'summarymixing-fairseq[quickstart]'"
        ) from None
    return espeakng_loader
