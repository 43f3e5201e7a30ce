"""Speakers and ways of speaking for the miniature corpora, on top of espeak-ng's voices.

A speaker is a variant with an accent, a pitch, a speed and a vocal tract of its own length; a delivery is how one clip
departs from that: effort, loudness, the channel it came through.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from synthesiser import speak

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE_HZ = 16000
# In the names of files: to be raised when the same recipe begins to sound different.
RECIPE_VERSION = 1
_LOWEST_RATE, _HIGHEST_RATE = 80, 450
_HIGHEST_PEAK = 0.9
_ROUGHNESS_HZ = 30.0


@dataclass(frozen=True)
class Voice:
    """A speaker. `name` is its identity in paths and labels; `espeak` a language or accent, a plus and a variant.

    `formant_scale` multiplies all frequencies, as a shorter vocal tract does: above 1 the voice sounds smaller.
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
        pitch: added to the voice's, on espeak-ng's scale of 0 to 100.
        rate: multiplies the voice's words per minute; formant_scale: multiplies the voice's.
        level_dbfs: loudness of the whole clip, root mean square.
        tilt: from -0.9 (dull) to 0.9 (bright), the coefficient of a filter 1 - tilt / z.
        roughness: depth, 0 to 1, of a flutter of loudness at 30 Hz, as in a harsh voice.
        snr_db: level of speech above added noise, or None for none.
    """

    pitch: float = 0.0
    rate: float = 1.0
    formant_scale: float = 1.0
    level_dbfs: float = -24.0
    tilt: float = 0.0
    roughness: float = 0.0
    snr_db: float | None = None


def say(text: str, voice: Voice, delivery: Delivery) -> np.ndarray:
    """Speak `text`: float32 samples in [-1, 1], shape (num_samples,), 16 kHz. The same arguments, the same samples."""
    import numpy as np

    # Played faster than it was made, speech gains pitch, formants and speed: only the last is taken back.
    formant_scale = voice.formant_scale * delivery.formant_scale
    words_per_minute = voice.words_per_minute * delivery.rate / formant_scale
    samples = speak(
        text,
        voice.espeak,
        sample_rate_hz=round(SAMPLE_RATE_HZ / formant_scale),
        words_per_minute=round(min(max(words_per_minute, _LOWEST_RATE), _HIGHEST_RATE)),
        pitch=round(min(max(voice.pitch + delivery.pitch, 0), 100)),
    ).astype(np.float64)
    if delivery.roughness:
        seconds = np.arange(len(samples)) / SAMPLE_RATE_HZ
        samples *= 1.0 - delivery.roughness * (0.5 + 0.5 * np.sin(2 * np.pi * _ROUGHNESS_HZ * seconds))
    samples[1:] -= delivery.tilt * samples[:-1]
    if delivery.snr_db is not None:
        samples += _root_mean_square(samples) * 10 ** (-delivery.snr_db / 20) * _noise(len(samples), text + voice.name)
    samples *= 10 ** (delivery.level_dbfs / 20) / _root_mean_square(samples)
    samples *= min(1.0, _HIGHEST_PEAK / np.abs(samples).max())
    return samples.astype(np.float32)


def _root_mean_square(samples: np.ndarray) -> float:
    return float((samples**2).mean() ** 0.5)


def _noise(num_samples: int, key: str) -> np.ndarray:
    """Noise of level 1, stronger in the bass as in rooms, (num_samples,)."""
    import numpy as np

    # RandomState, for numpy promises its stream for all versions to come, as it does not of newer generators.
    white = np.random.RandomState(zlib.crc32(key.encode("utf-8"))).standard_normal(num_samples + 1)
    noise = white[1:] + 0.8 * white[:-1]
    return noise / _root_mean_square(noise)


# Neither Reed nor caleb is among the variants: the breath of a Klatt voice is other noise each time.

# Speakers to verify, whom nothing else hears: not even their variants speak anywhere else.
TEST_SPEAKERS = tuple(
    Voice(f"id2{number:03}", f"{accent}+{variant}", pitch, rate, scale)
    for number, (variant, accent, pitch, rate, scale) in enumerate(
        (
            ("f2", "en-us", 50, 160, 1.00),
            ("f5", "en-gb-scotland", 42, 150, 1.05),
            ("m7", "en", 40, 170, 0.95),
            ("m8", "en-us", 55, 155, 1.00),
            ("Lee", "en-us-nyc", 50, 165, 0.97),
            ("Nguyen", "en-us", 50, 150, 1.00),
            ("Gene", "en-gb-x-rp", 45, 160, 1.04),
            ("belinda", "en-us", 45, 165, 0.98),
            ("ed", "en-029", 55, 160, 1.00),
            ("Alicia", "en", 40, 175, 0.94),
            ("david", "en-us", 60, 160, 1.06),
            ("klatt3", "en-gb-x-gbclan", 65, 155, 1.00),
            ("iven", "en-us", 45, 160, 1.08),
            ("pablo", "en-gb-x-gbcwmd", 60, 150, 1.00),
            ("quincy", "en-us", 50, 160, 0.92),
            ("steph", "en-gb-x-rp", 55, 165, 1.02),
            ("victor", "en-029", 40, 155, 1.03),
            ("sandro", "en-us-nyc", 65, 165, 1.10),
            ("Annie", "en-us", 35, 160, 1.00),
            ("grandma", "en-gb-x-gbclan", 50, 145, 0.96),
        )
    )
)

# Speakers to train on; the other corpora borrow them. Plain voices and odd ones in turn, for any few to hold both.
TRAIN_SPEAKERS = tuple(
    Voice(f"id1{number:03}", f"{accent}+{variant}", pitch, rate, scale)
    for number, (variant, accent, pitch, rate, scale) in enumerate(
        (
            ("f1", "en-us", 50, 160, 1.00),
            ("kaukovalta", "en-gb-x-rp", 50, 165, 0.97),
            ("m3", "en-us", 45, 165, 0.96),
            ("zac", "en-us", 25, 160, 0.98),
            ("f3", "en-gb-x-rp", 55, 155, 1.04),
            ("Storm", "en-us", 50, 170, 1.00),
            ("m1", "en-gb-scotland", 60, 160, 1.05),
            ("UniRobot", "en", 45, 140, 1.00),
            ("f4", "en", 35, 170, 0.95),
            ("boris", "en-us", 65, 160, 1.10),
            ("m4", "en-us-nyc", 40, 160, 0.92),
            ("antonio", "en-gb-x-gbclan", 40, 140, 1.03),
            ("anika", "en-us", 40, 155, 1.00),
            ("rob", "en-us-nyc", 50, 150, 0.95),
            ("edward", "en-us", 55, 160, 1.06),
            ("shelby", "en-029", 50, 160, 1.02),
            ("m5", "en-gb-x-gbclan", 55, 150, 1.00),
            ("michel", "en-gb-scotland", 35, 155, 0.93),
            ("Diogo", "en-us", 50, 155, 1.00),
            ("aunty", "en-gb-x-gbcwmd", 50, 165, 1.05),
            ("m6", "en", 70, 165, 1.08),
            ("Andrea", "en-us", 50, 140, 0.94),
            ("Andy", "en-us", 50, 160, 1.00),
            ("marcelo", "en-029", 45, 160, 1.00),
        )
    )
)

# Voices that a recogniser finds hard: creaking, aged, booming, thin.
_HARD_VARIANTS = ("croak", "grandpa", "announcer", "ian", "gustave", "Denis", "Alex", "klatt6")
HARD_READERS = tuple(
    Voice(variant, f"{accent}+{variant}", 50, 190, scale)
    for variant, accent, scale in zip(
        _HARD_VARIANTS,
        ("en-us", "en-gb-scotland", "en-us", "en-029", "en-us", "en-gb-x-gbclan", "en", "en-us-nyc"),
        (1.0, 0.95, 1.1, 1.0, 1.08, 0.93, 1.0, 1.05),
    )
)


def readers(language: str, first: int = 0, count: int = len(TRAIN_SPEAKERS)) -> list[Voice]:
    """`count` of the train speakers from the `first` on, as they would read `language`."""
    variants = [(voice.espeak.partition("+")[2], voice) for voice in TRAIN_SPEAKERS[first : first + count]]
    return [replace(voice, name=variant, espeak=f"{language}+{variant}") for variant, voice in variants]
