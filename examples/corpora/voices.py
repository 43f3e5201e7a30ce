"""Speakers, and ways of speaking, that vary espeak-ng's voices for the miniature corpora.

A speaker (`Voice`) is an espeak-ng variant with an accent, a pitch, a speed and a length of the vocal tract. A
`Delivery` is how one clip differs from that: effort, loudness, and the channel of the recording.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from sentences import load

from summarymixing_fairseq.data.synthesiser import Word, speak_timed
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

# Part of the names of files. Raise it when the same recipe begins to sound different.
RECIPE_VERSION = 1
_LOWEST_RATE, _HIGHEST_RATE = 80, 450
_HIGHEST_PEAK = 0.9
_ROUGHNESS_HZ = 30.0


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
        name: identity of the speaker in paths and labels.
        espeak: language or accent, a plus, and a variant.
        pitch: on espeak-ng's scale of 0 to 100.
        formant_scale: factor for all frequencies. Above 1 the vocal tract is shorter, and the voice sounds smaller.
    """

    name: str
    espeak: str
    pitch: int = 50
    words_per_minute: int = 160
    formant_scale: float = 1.0


@dataclass(frozen=True)
class Delivery:
    """How one clip is spoken and recorded.

    Attributes:
        pitch: added to the voice's pitch.
        rate: factor for the voice's words per minute.
        formant_scale: factor for the voice's formant_scale.
        level_dbfs: root-mean-square level of the whole clip.
        tilt: from -0.9 (dull) to 0.9 (bright); the coefficient of the filter 1 - tilt / z.
        roughness: depth, 0 to 1, of an amplitude modulation at 30 Hz, as in a harsh voice.
        snr_db: level of speech above added noise; None: no noise.
    """

    pitch: float = 0.0
    rate: float = 1.0
    formant_scale: float = 1.0
    level_dbfs: float = -24.0
    tilt: float = 0.0
    roughness: float = 0.0
    snr_db: float | None = None


def say(text: str, voice: Voice, delivery: Delivery) -> np.ndarray:
    """Speak `text`: float32 samples in [-1, 1], shape (num_samples,), 16 kHz. Equal arguments give equal samples."""
    return say_timed(text, voice, delivery)[0]


def say_timed(text: str, voice: Voice, delivery: Delivery) -> tuple[np.ndarray, list[Word]]:
    """`say`, and the words with their phones, timed in samples at 16 kHz."""
    # Made at another rate and played at 16 kHz, speech changes its pitch, formants and speed. Only the speed is undone.
    formant_scale = voice.formant_scale * delivery.formant_scale
    words_per_minute = voice.words_per_minute * delivery.rate / formant_scale
    spoken, words = speak_timed(
        text,
        voice.espeak,
        sample_rate_hz=round(SAMPLE_RATE_HZ / formant_scale),
        words_per_minute=round(min(max(words_per_minute, _LOWEST_RATE), _HIGHEST_RATE)),
        pitch=round(min(max(voice.pitch + delivery.pitch, 0), 100)),
    )
    samples = spoken.astype(np.float64)
    if delivery.roughness:
        seconds = np.arange(len(samples)) / SAMPLE_RATE_HZ
        samples *= 1.0 - delivery.roughness * (0.5 + 0.5 * np.sin(2 * np.pi * _ROUGHNESS_HZ * seconds))
    samples[1:] -= delivery.tilt * samples[:-1]
    if delivery.snr_db is not None:
        samples += _root_mean_square(samples) * 10 ** (-delivery.snr_db / 20) * _noise(len(samples), text + voice.name)
    samples *= 10 ** (delivery.level_dbfs / 20) / _root_mean_square(samples)
    samples *= min(1.0, _HIGHEST_PEAK / np.abs(samples).max())
    return samples.astype(np.float32), words


def _root_mean_square(samples: np.ndarray) -> float:
    return float((samples**2).mean() ** 0.5)


def _noise(num_samples: int, key: str) -> np.ndarray:
    """Noise of level 1, stronger at low frequencies as in rooms, (num_samples,)."""
    # RandomState: numpy promises that its numbers stay the same in all versions. It does not for newer generators.
    white = np.random.RandomState(zlib.crc32(key.encode("utf-8"))).standard_normal(num_samples + 1)
    noise = white[1:] + 0.8 * white[:-1]
    return noise / _root_mean_square(noise)


def _speakers(group: str, first_number: int | None = None) -> tuple[Voice, ...]:
    """Speakers of data/speakers.yaml, named by numbers (`id1000`, ...) or, without one, by their variants."""
    return tuple(
        Voice(variant if first_number is None else f"id{first_number + index}", f"{accent}+{variant}", *numbers)
        for index, (variant, accent, *numbers) in enumerate(load("speakers")[group])
    )


TRAIN_SPEAKERS = _speakers("train", 1000)
TEST_SPEAKERS = _speakers("test", 2000)
HARD_READERS = _speakers("hard")


def readers(language: str, first: int = 0, count: int = len(TRAIN_SPEAKERS)) -> list[Voice]:
    """`count` of the train speakers, from number `first` on, reading `language`."""
    variants = [(voice.espeak.partition("+")[2], voice) for voice in TRAIN_SPEAKERS[first : first + count]]
    return [replace(voice, name=variant, espeak=f"{language}+{variant}") for variant, voice in variants]
