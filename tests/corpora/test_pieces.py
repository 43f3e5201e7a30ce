"""Tests of pieces.py: subword units by sentencepiece."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from summarymixing_fairseq.corpora.text.pieces import Pieces, train_pieces
from summarymixing_fairseq.system.errors import InputError

TEXTS = [
    "mae hen wlad fy nhadau yn annwyl i mi",
    "gwlad beirdd a chantorion enwogion o fri",
    "ei gwrol ryfelwyr gwladgarwyr tra mâd",
    "dros ryddid collasant eu gwaed",
    "g̃uarani mae'r gwlad a'r gwlad i'r gwlad",
]


def words_of(line: str) -> str:
    """What fairseq's post_process makes of pieces for "sentencepiece"."""
    return line.replace(" ", "").replace("\u2581", " ").strip()


@pytest.fixture(scope="module")
def trained() -> Pieces:
    return train_pieces(TEXTS, 60)


def test_pieces_of_every_text_give_it_back(trained):
    assert len(trained) == 60
    for text in TEXTS:
        line = trained.encode(text)
        assert words_of(line) == text
        assert all(piece.rfind("\u2581") <= 0 for piece in line.split()), "a piece holds parts of two words"
        assert len(line.split()) < len(text)
    assert "\u2581gwlad" in trained.encode(TEXTS[1]).split()


def test_letters_that_train_lacks_are_pieces_of_their_own(trained):
    assert trained.encode("ŵŷ gwlad") == "\u2581 ŵ ŷ \u2581gwlad"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("aâbcw'\u0303", min_size=1, max_size=6), min_size=1).map(" ".join))
def test_any_words_come_back(text):
    model = train_pieces(TEXTS, 40)
    assert words_of(model.encode(text)) == text


def test_the_same_texts_give_the_same_model(trained):
    assert train_pieces(TEXTS, 60).model == trained.model
    assert train_pieces(TEXTS[:-1], 60).model != trained.model
    assert Pieces(trained.model).encode(TEXTS[0]) == trained.encode(TEXTS[0])


def test_long_texts_count():
    long_text = "z" + " gwlad" * 2000  # sentencepiece skips over 4192 bytes unless told otherwise
    assert train_pieces([*TEXTS, long_text], 60).model != train_pieces(TEXTS, 60).model


def test_pieces_may_hold_apostrophes_and_marks():
    pieces = train_pieces(["mae'r tŷ a'r tŷ i'r tŷ g̃uarani g̃uarani"] * 3, 26)
    assert pieces.encode("a'r g̃uarani") == "\u2581 a 'r \u2581g̃uarani"


def test_vocabulary_that_does_not_suit_the_texts():
    with pytest.raises(InputError) as error:
        train_pieces(TEXTS, 5000)
    largest = int(str(error.value).removeprefix("--bpe 5000: the texts of train yield ").split()[0])
    assert str(error.value) == f"--bpe 5000: the texts of train yield {largest} pieces at most"
    assert len(train_pieces(TEXTS, largest)) == largest
    with pytest.raises(InputError, match="at most"):
        train_pieces(TEXTS, largest + 1)

    with pytest.raises(InputError) as error:
        train_pieces(TEXTS, 5)
    smallest = int(str(error.value).split()[-3])
    assert str(error.value) == f"--bpe 5: train has {smallest - 2} letters, so give {smallest} or more"
    assert len(train_pieces(TEXTS, smallest)) == smallest

    with pytest.raises(InputError, match="^--bpe 5: train has no text to learn pieces from$"):
        train_pieces([], 5)


def test_nothing_is_printed(capfd):
    train_pieces(TEXTS, 60).encode("ŵ")
    with pytest.raises(InputError):
        train_pieces(TEXTS, 5000)
    assert capfd.readouterr() == ("", "")
