"""Emissions to texts: several of them, with the frames of their words."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from encoder_checkpoints import letters
from fairseq.data.data_utils import post_process
from hypothesis import given, settings
from hypothesis import strategies as st

from summarymixing_fairseq.data.ctc_decoding import BeamDecoder, GreedyDecoder
from summarymixing_fairseq.data.prefix_search import most_probable
from summarymixing_fairseq.data.references import LETTERS, Symbols

ARPA = "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1\t<s>\t-0.3\n-1\t</s>\n-0.7\tAB\t-0.3\n-0.7\tB\t-0.3\n\n"
ARPA += "\\2-grams:\n-0.2\t<s> AB\n\n\\end\\\n"


def emissions(path: str, dictionary, sure: float = 0.9) -> np.ndarray:
    """Of a path of letters, "_" for a blank."""
    frames = np.full((len(path), len(dictionary)), np.log((1 - sure) / (len(dictionary) - 1)))
    for frame, letter in zip(frames, path):
        frame[0 if letter == "_" else dictionary.index(letter)] = np.log(sure)
    return frames


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_texts_by_the_sum_over_all_their_paths(num_frames, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), num_frames)
    sums = defaultdict(float)
    for path in itertools.product(range(3), repeat=num_frames):
        text = tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)
        sums[text] += np.prod(probabilities[range(num_frames), path])
    expected = sorted(sums.items(), key=lambda item: -item[1])[:5]
    found = most_probable(np.log(probabilities), 5, 1000, set())
    np.testing.assert_allclose(np.exp([s for _, s in found]), [p for _, p in expected], rtol=1e-3, atol=1e-4)
    assert found[0][1] == pytest.approx(np.log(sums[tuple(found[0][0])]), abs=1e-3)


def test_words_and_their_frames():
    dictionary = letters("AB|")
    (decoded,) = GreedyDecoder(dictionary, LETTERS).decode(emissions("_AA_B||_B_|", dictionary))
    assert decoded.text == "AB B"
    assert [(unit.start, unit.end) for unit in decoded.words] == [(1, 5), (8, 9)]
    assert [unit.confidence for unit in decoded.words] == pytest.approx([0.9, 0.9])
    assert GreedyDecoder(dictionary, LETTERS).decode(np.zeros((0, 7)), 3)[0].text == ""


def test_several_texts_have_their_frames_too():
    dictionary = letters("AB|")
    frames = emissions("_AA_B||_B_|", dictionary)
    frames[8, dictionary.index("A")] = np.log(0.8)
    best, second, *_ = GreedyDecoder(dictionary, LETTERS).decode(frames, 3)
    assert (best.text, second.text) == ("AB B", "AB A") and best.score > second.score
    assert [(unit.start, unit.end) for unit in second.words] == [(1, 5), (8, 9)]
    assert second.words[1].confidence == pytest.approx(0.8)


def test_beam_search_gives_several_texts_and_frames(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    (tmp_path / "words.arpa").write_text(ARPA)
    dictionary = letters("AB|")
    decoder = BeamDecoder(dictionary, tmp_path / "words.arpa")
    decoded = decoder.decode(emissions("_AA_B||_B_|", dictionary), 3)
    assert decoded[0].text == "AB B" and len({one.text for one in decoded}) == len(decoded) == 3
    assert [(unit.start, unit.end) for unit in decoded[0].words] == [(1, 5), (8, 9)]
    assert [one.score for one in decoded] == sorted((one.score for one in decoded), reverse=True)


SCHEMES = ("letter", "sentencepiece", "wordpiece", "_EOW", "subword_nmt", "@@ ", "@@", "silence", "none")


@given(
    st.sampled_from(SCHEMES),
    st.lists(st.sampled_from(["A", "b", "|", "▁", "▁C", "_", "_D", "e_EOW", "f@@", "<SIL>", "g|h", "\xa0"])),
)
def test_units_are_those_of_fairseq(scheme, symbols):
    units = Symbols("ltr", scheme, "word").units_of(symbols)
    assert " ".join(text for text, _, _ in units) == " ".join(post_process(" ".join(symbols), scheme).split())
    ends = [0, *itertools.chain.from_iterable((first, end) for _, first, end in units)]
    # a mark within a symbol parts two units, which have both this symbol
    assert all(0 <= before <= after + 1 <= len(symbols) + 1 for before, after in zip(ends, ends[1:]))
