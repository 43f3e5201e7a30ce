"""Tests of unicode_text.py: transcripts of any language as lower-case words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.corpora.text.english_text import TextRefused
from summarymixing_fairseq.corpora.text.unicode_text import normalise


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Mae’r hen Ŵyl i’w chanu: â Ê î Ô û Ŷ!", "cy", "mae'r hen ŵyl i'w chanu â ê î ô û ŷ"),
        ("‘Dw i`n mynd’ meddaiʼr dyn", "cy", "dw i'n mynd meddai'r dyn"),
        ("Zer moduz, ESPAÑA? Ez-ohiko", "eu", "zer moduz españa ez ohiko"),
        ("ISPARTA İzmir", "tr", "ısparta izmir"),
        ("I\u0307zmir ILIQ", "az-AZ", "izmir ılıq"),
        ("INDIA", "trv", "india"),  # Taroko: a code that only begins as Turkish does
        ("Straße ẞ", "de", "straße ß"),
        ("ΟΔΟΣ", "el", "οδος"),
        ("El col·lecció· ·a", "ca", "el col·lecció a"),
        ("צה״ל ״שלום״", "he", "צה״ל שלום"),
        ("किताब पढ़ना।", "hi", "किताब पढ़ना"),  # vowel signs and virama are marks
        ("Mbaʼépa g̃uarani", "gn", "mba'épa g̃uarani"),
        ("می\u200cخواهم", "fa", "میخواهم"),
        ("hy\u00adphen\u2010ated a\u200bb", "en", "hyphen ated a b"),
        ("don''t ''quote'' rock 'n' roll's'", "en", "don t quote rock n roll's"),
        ("snake_case a/b\u2028c\u00a0d e&f", "en", "snake case a b c d e f"),
        ("e\u034f\u0301", "", "é"),  # a letter and a mark that only the grapheme joiner keeps apart
        ("heart ❤\ufe0f of a\ufe0fb \u0301x", "en", "heart of ab x"),
    ],
)
def test_words(text, language, expected):
    assert normalise(text, language) == unicodedata.normalize("NFC", expected)


def test_composed_and_decomposed_letters_are_the_same():
    assert normalise("w\u0302yl y\u0302ch") == normalise("ŵyl ŷch") == "ŵyl ŷch"


@pytest.mark.parametrize("text", ["yn 1999", "٣ كتب", "x²", "Louis Ⅳ", "1\ufe0f\u20e3"])
def test_numbers_are_refused(text):
    with pytest.raises(TextRefused, match="^number in text$"):
        normalise(text)


@pytest.mark.parametrize("text", ["", " ", "— ... !", "'", "❤\ufe0f", "\u0301", "\ufeff"])
def test_texts_without_words_are_refused(text):
    with pytest.raises(TextRefused, match="^no words in transcript$"):
        normalise(text)


@given(st.text(), st.sampled_from(["", "cy", "tr", "lt"]))
def test_any_text_becomes_words_or_is_refused(text, language):
    try:
        words = normalise(text, language)
    except TextRefused:
        return
    assert words == " ".join(words.split()) and "|" not in words and "\u2581" not in words
    assert {unicodedata.category(character)[0] for character in words if character not in " '·׳״"} <= {"L", "M"}
    for word in words.split():
        assert unicodedata.category(word[0])[0] == "L" and word[-1] not in "'·"
    assert unicodedata.is_normalized("NFC", words)
    assert normalise(words, language) == words
