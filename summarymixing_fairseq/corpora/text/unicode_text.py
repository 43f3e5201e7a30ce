"""Transcripts of any language as words of lower-case letters, by Unicode's character properties.

- Letters and the marks on them are kept, composed where Unicode has a composed form (NFC): `ŵ` is one letter; `g̃`,
  which has none, stays a letter and a mark: two symbols in a file of letters.
- Lower case rather than case folding: `ß` stays itself, and a Greek word ends in `ς`. In Turkish and Azeri `I` becomes
  `ı`, and `İ` becomes `i`.
- Apostrophes of all shapes between letters become `'`; at the edge of a word they are taken for quotation marks. The
  middle dot (Catalan `col·lecció`), the Hebrew geresh and gershayim are kept between letters as well.
- Invisible characters (joiners, soft hyphens, directions) are removed. Everything else, hyphens too, separates words.
- A text with digits or other numerals is refused: it is not known how they were read.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from .english_text import TextRefused

# The apostrophe as it is typed: ' ` ´ ʼ ‘ ’ ‛ ＇
_APOSTROPHES = "'`\u00b4\u02bc\u2018\u2019\u201b\uff07"
# Part of a word between letters: apostrophe, middle dot, geresh, gershayim.
_INNER = "'\u00b7\u05f3\u05f4"
_INNER_AT_AN_EDGE = re.compile(rf"(?<![^ {_INNER}])[{_INNER}]+|[{_INNER}]+(?![^ {_INNER}])")
# An invisible character that separates words, unlike others of its category.
_ZERO_WIDTH_SPACE = "\u200b"
# Marks without a shape of their own: grapheme joiner, variation selectors.
_INVISIBLE_MARKS = re.compile("[\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_LANGUAGES_WITH_DOTLESS_I = {"tr", "az"}


@functools.cache
def _replacement(character: str) -> str:
    if character in _APOSTROPHES:  # first: by its category U+02BC is a letter
        return "'"
    category = unicodedata.category(character)
    if _INVISIBLE_MARKS.match(character) or (category == "Cf" and character != _ZERO_WIDTH_SPACE):
        return ""
    if category[0] in "LM" or character in _INNER:
        return character
    return "0" if category[0] == "N" else " "


def normalise(text: str, language: str = "") -> str:
    """`text` as lower-case words with single spaces between; `language` is a code such as `cy`, `tr` or `sv-SE`.

    Raises:
        TextRefused: for a text with a number, or without a word.
    """
    text = unicodedata.normalize("NFC", text)
    if re.split("[-_]", language.lower())[0] in _LANGUAGES_WITH_DOTLESS_I:
        text = text.replace("\u0130", "i").replace("I", "\u0131")
    # again: lower case may have decomposed a letter, and an invisible character may have stood within one
    text = unicodedata.normalize("NFC", "".join(map(_replacement, text.lower())))
    if "0" in text:
        raise TextRefused("number in text")
    words = " ".join(filter(None, map(_from_first_letter, _INNER_AT_AN_EDGE.sub(" ", text).split())))
    if not words:
        raise TextRefused("no words in transcript")
    return words


def _from_first_letter(word: str) -> str:
    """`word` without marks at its beginning: they belonged to a character that is not kept, such as an emoji."""
    while word and (word[0] in _INNER or unicodedata.category(word[0])[0] == "M"):
        word = word[1:]
    return word
