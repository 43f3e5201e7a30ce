"""English prompt texts as letters: upper case A to Z and apostrophes, with numbers and keys spelled out."""

from __future__ import annotations

import re

# fmt: off
_ONES = [
    "ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN", "ELEVEN", "TWELVE",
    "THIRTEEN", "FOURTEEN", "FIFTEEN", "SIXTEEN", "SEVENTEEN", "EIGHTEEN", "NINETEEN",
]
# fmt: on
_TENS = ["TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY"]

# The voice of the Asterisk prompts says these names where a prompt spells them out ("followed by the pound key").
_SYMBOLS = {"*": "STAR", "#": "POUND", "%": "PERCENT", "&": "AND", "@": "AT"}

# Misspellings in Debian's transcripts; the recordings have the right word.
_SPELLING = {
    "EXCLAIMATION": "EXCLAMATION",
    "INDENTIFIED": "IDENTIFIED",
    "REPRESENATIVES": "REPRESENTATIVES",
    "THRU": "THROUGH",
    "UMUTE": "UNMUTE",
    "WITHELD": "WITHHELD",
}

_BRACKETED = re.compile(r"\[[^\]]*\]|\([^)]*\)|<[^>]*>")
_IGNORED = str.maketrans(dict.fromkeys('.,;:!?"-–—…“”‘', " "))


class TextRefused(ValueError):
    """A text for which it is not certain how it was read aloud; the message is the reason."""


def spell_number(digits: str) -> str:
    """The words of a whole number from 0 to 99.

    Longer numbers are refused: "500" may be read "five hundred" or "five oh oh".
    """
    if len(digits) > 2 or (len(digits) == 2 and digits[0] == "0"):
        raise TextRefused("a number that can be read in several ways")
    number = int(digits)
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens - 2]} {_ONES[ones]}" if ones else _TENS[tens - 2]


def without_brackets(text: str) -> str:
    """`text` without brackets, which hold a gloss ("at [@]") or a stage direction ("[sound of monkeys]").

    In Debian's transcripts no spoken English word is in brackets. Where nothing is left, the recording is not speech.
    """
    return " ".join(_BRACKETED.sub(" ", text).split())


def normalise(text: str) -> str:
    """Words of a transcript in capital letters; raises TextRefused where the reading is not certain."""
    text = without_brackets(text).replace("’", "'")
    if re.search(r"[A-Za-z]{2,}\.[A-Za-z]{2,}", text):
        raise TextRefused("a web address, whose reading is not certain")
    if re.search(r"\d[.,]\d|[A-Za-z]\.\d", text):
        raise TextRefused("a number that can be read in several ways")
    text = re.sub(r"\d+", lambda match: f" {spell_number(match.group())} ", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    text = text.upper().translate(_IGNORED)
    # Apostrophes inside words are kept ("o'clock", "party's"), quotation marks are not.
    text = re.sub(r"(?<![A-Z])'|'(?![A-Z])", " ", text)
    unknown = sorted(set(re.sub(r"[A-Z' ]", "", text)))
    if unknown:
        raise TextRefused(f"the character {unknown[0]!r}, whose reading is not certain")
    words = [_SPELLING.get(word, word) for word in text.split()]
    if not words:
        raise TextRefused("no words")
    return " ".join(words)
