"""Units as soon as they are over, in frames that come in parts."""

from __future__ import annotations

import numpy as np
import pytest
from encoder_checkpoints import letters
from hypothesis import given, settings
from hypothesis import strategies as st

from summarymixing_fairseq.data.ctc_decoding import GreedyDecoder
from summarymixing_fairseq.data.ctc_stream import UnitStream
from summarymixing_fairseq.data.references import LETTERS, Symbols

PIECES = Symbols("bpe", "sentencepiece", "word")
PHONES = Symbols("phn", "none", "phone")
DICTIONARIES = {
    LETTERS: (letters("AB|"), "AB|"),
    PIECES: (letters(["\u2581A", "A", "\u2581B"]), ["\u2581A", "A", "\u2581B"]),
    PHONES: (letters("AB"), "AB"),
}


def emissions(path: list[int], num_symbols: int) -> np.ndarray:
    frames = np.full((len(path), num_symbols), -5.0)
    frames[np.arange(len(path)), path] = -0.1
    return frames


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(DICTIONARIES)), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=25))
def test_units_are_those_of_all_frames(symbols, runs):
    dictionary, spelled = DICTIONARIES[symbols]
    numbers = [0, *(dictionary.index(symbol) for symbol in spelled)]
    frames = emissions([numbers[min(s, len(spelled))] for s, n in runs for _ in range(n)], len(dictionary))
    decoder, random = GreedyDecoder(dictionary, symbols), np.random.default_rng(len(frames))
    stream, found, first = UnitStream(decoder, 50), [], 0
    while first < len(frames):
        size = int(random.integers(1, 20))
        found += stream.push(frames[first : first + size])
        first += size
    found += stream.push(frames[:0], is_last=True)
    assert found == list(decoder.decode(frames)[0].words)


@pytest.mark.parametrize(
    "symbols, path, given_after",
    [(LETTERS, "AAB|A|", [3, 5]), (PHONES, "AAB", [2, None]), (PIECES, ["\u2581A", "A", "\u2581B"], [2, None])],
)
def test_when_a_unit_is_over(symbols, path, given_after):
    """The number of the frame after which each is given; None: at the end."""
    dictionary, _ = DICTIONARIES[symbols]
    stream = UnitStream(GreedyDecoder(dictionary, symbols), 50)
    frames = emissions([dictionary.index(symbol) for symbol in path], len(dictionary))
    found = [number for number in range(len(frames)) for _ in stream.push(frames[number : number + 1])]
    assert found + [None] * len(stream.push(frames[:0], is_last=True)) == given_after


def test_nothing_is_kept_for_ever():
    dictionary, _ = DICTIONARIES[LETTERS]
    stream = UnitStream(GreedyDecoder(dictionary, LETTERS), 50)
    a, blank = (emissions([number] * 32, len(dictionary)) for number in (dictionary.index("A"), 0))
    assert stream.push(a) == [] and stream.push(blank) == []
    (word,) = stream.push(blank)  # a second and more of silence
    assert (word.label, word.start, word.end) == ("A", 0, 32)
    found = [len(stream.push(a)) for _ in range(100)]
    assert sum(found) == 2 and sum(map(len, stream._kept)) <= 1500


def test_a_long_push_cuts_no_word():
    dictionary, _ = DICTIONARIES[LETTERS]
    stream = UnitStream(GreedyDecoder(dictionary, LETTERS), 50)
    words = emissions([dictionary.index(symbol) for symbol in "A|" * 800], len(dictionary))
    first, second = (emissions([dictionary.index(symbol)] * 4, len(dictionary)) for symbol in "AB")
    assert len(stream.push(np.concatenate([words, first]))) == 800
    (last,) = stream.push(second, is_last=True)
    assert (last.label, last.start, last.end) == ("AB", 1600, 1608)
