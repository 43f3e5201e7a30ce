"""Prompt texts in English: what they become, and what is refused because its reading is not certain."""

from __future__ import annotations

import pytest

from summarymixing_fairseq.corpora.text.english_text import TextRefused, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Please press 1, now.", "PLEASE PRESS ONE NOW"),
        ("3D audio enabled", "THREE D AUDIO ENABLED"),
        ("dial 42 or 10", "DIAL FORTY TWO OR TEN"),
        ("it's ten o'clock, 'sir'", "IT'S TEN O'CLOCK SIR"),
        ("a polite \u201cdon\u2019t call\u201d menu", "A POLITE DON'T CALL MENU"),
        ("press * or #", "PRESS STAR OR POUND"),
        ("at [@]", "AT"),
        ('IAX (note: does not say "2")', "IAX"),
        ("P.M.", "P M"),
        ("Call-Forward", "CALL FORWARD"),
        ("you @ 5%", "YOU AT FIVE PERCENT"),
        ("exclaimation-point [!]", "EXCLAMATION POINT"),
        ("All represenatives are busy", "ALL REPRESENTATIVES ARE BUSY"),
    ],
)
def test_english_texts(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dial 500", "several ways"),
        ("28.8 kilobit", "several ways"),
        ("H.323", "several ways"),
        ("press 007", "several ways"),
        ("visit www.asterisk.org", "web address"),
        ("caf\u00e9", "the character '\u00c9'"),
        ("1+1", r"the character '\+'"),
        ("[beep]", "no words"),
    ],
)
def test_english_texts_that_are_refused(text, reason):
    with pytest.raises(TextRefused, match=reason):
        normalise(text)
