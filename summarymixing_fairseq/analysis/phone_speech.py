"""Speech whose phones are known to the sample: espeak-ng's own times, not those of an aligner.

The sentences are ours. Test sentences and the voices that speak them are in no training clip.
"""

from __future__ import annotations

import functools

import numpy as np

from ..data.alignments import Alignment
from ..data.synthesiser import speak_timed, tiers_of
from ..system.units import SAMPLE_RATE_HZ

# espeak-ng's variants, with pitch and words per minute
TRAIN_VOICES = (
    ("en-us+m1", 40, 150),
    ("en-us+f1", 55, 165),
    ("en-us+m3", 30, 175),
    ("en-us+f3", 65, 155),
    ("en-us+m5", 50, 185),
    ("en-us+f5", 45, 170),
)
TEST_VOICES = (("en-us+m7", 45, 160), ("en-us+f2", 60, 175), ("en-us+m4", 35, 165), ("en-us+f4", 50, 180))
VOICES_A_SENTENCE = 2

TRAIN_SENTENCES = """\
the young judge chose a beige jacket for the evening show
a thin brown fox jumped over the lazy yellow dog
she usually measures the azure cloth with both hands
we heard the choir sing in the church by the river
his father owns a large garage near the south gate
they thought the weather would change before thursday
please bring fresh fish and cheese from the village shop
the boy enjoyed a loud noise from the toy train
could you put the good book back on that wooden shelf
her first nurse worked early hours in the third ward
the king and queen were singing along with the band
how many pounds of flour are there in the house
my quiet neighbour likes to ride a white bicycle
the red van was parked beside an old stone bridge
few people knew the true value of that blue jewel
a cup of tea with honey often helps a sore throat
the engineer checked each wheel and every other gear
we saw tall palm trees along the calm water
the child laughed when the puppy chased its own tail
this path leads through a deep valley to the sea
both brothers breathe cold northern air each winter
give the guests some orange juice and warm bread
the usual vision of leisure brings him no pleasure
our teacher wrote seven short words on the board
he pulled the heavy box across the dusty floor
the captain saved a dozen sailors from the ship
four foreign students joined the choral group in march
an ugly bug crawled under the rug in the hall
the music hour will begin when the moon is full
they gave away eight great paintings last may
that clever thief vanished with the golden ring
you should not push the button until the bell rings
the farmer feeds his goats and sheep at dawn
a smooth voice announced the name of the next station
which of these maps shows the way to the harbour
the doctor put a soft bandage on the girl's thumb
""".splitlines()
TEST_SENTENCES = """\
the cheerful chef served a rich chicken soup at noon
nothing is worse than a rough journey without water
every measure of the song should sound clear and joyful
the younger brother found a thick coat in the cupboard
we could hear the ocean through the open window
she put five green pears and three figs in a bag
a huge cloud of dust rose over the dry road
the judge asked why the guard had left the bridge
those boys threw their shoes into the muddy pool
the old singer bought a house with a long garden
it was a pleasure to walk there with you last year
their mother took the early bus to work on sunday
the lawyer gave a short answer and left the room
his cousin usually drives a small grey van
many thanks for the lovely flowers and the chocolate
eight white birds were flying north along the shore
""".splitlines()


TimedWave = tuple[np.ndarray, Alignment]


@functools.lru_cache(maxsize=1)
def phone_speech() -> tuple[tuple[TimedWave, ...], tuple[TimedWave, ...]]:
    """Training and test clips, always the same ones; made in seconds, and once in a process.

    Raises:
        InputError: if the wheel espeakng-loader is not installed.
    """
    return _spoken(TRAIN_SENTENCES, TRAIN_VOICES), _spoken(TEST_SENTENCES, TEST_VOICES)


def _spoken(sentences: list[str], voices: tuple[tuple[str, int, int], ...]) -> tuple[TimedWave, ...]:
    """Each sentence by some of the voices in turn."""
    clips = []
    for number, text in enumerate(sentences):
        for turn in range(VOICES_A_SENTENCE):
            voice, pitch, words_per_minute = voices[(number * VOICES_A_SENTENCE + turn) % len(voices)]
            wave, words = speak_timed(text, voice, pitch=pitch, words_per_minute=words_per_minute)
            clips.append((wave, Alignment(tiers_of(words), len(wave) / SAMPLE_RATE_HZ, voice, text=text)))
    return tuple(clips)
