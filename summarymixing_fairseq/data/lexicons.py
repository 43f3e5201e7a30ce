"""Which words a search may find, and how a model's symbols spell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..system.errors import InputError
from ..system.files import read_text


def read_lexicon(path: Path) -> dict[str, list[list[str]]]:
    """All spellings of each word, of `word<TAB>l e t t e r s |` lines, or of pieces.

    Raises:
        InputError: for a file that is missing, empty or malformed.
    """
    lexicon: dict[str, list[list[str]]] = {}
    for number, line in enumerate(read_text(path, "lexicon").splitlines(), start=1):
        word, *spelling = line.split() or [""]
        if not spelling:
            raise InputError(f"{path}, line {number}: {line!r} is not a word and its letters")
        spellings = lexicon.setdefault(word, [])
        if spelling not in spellings:
            spellings.append(spelling)
    if not lexicon:
        raise InputError(f"lexicon {path} is empty")
    return lexicon


def words_of_arpa(path: Path) -> list[str]:
    """Words of an ARPA file's unigrams.

    Raises:
        InputError: for a file that is not an ARPA file: a KenLM binary does not list its words.
    """
    words = []
    try:
        with open(path, encoding="utf-8") as file:
            in_unigrams = False
            for line in map(str.strip, file):
                if in_unigrams and line.startswith("\\"):
                    break
                if in_unigrams and line:
                    words.append(line.split()[1])
                in_unigrams |= line == "\\1-grams:"
    except OSError as error:
        raise InputError(f"language model {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, IndexError):
        words = []
    words = [word for word in words if not word.startswith("<")]
    if not words:
        raise InputError(f"{path} is no ARPA file: for a KenLM binary give the words and their letters by --lexicon")
    return words


def spelled_in_pieces(words: Sequence[str], model: Path) -> dict[str, list[list[str]]]:
    """Spell words by a model of sentencepiece's, `bpeN.model`.

    Raises:
        InputError: for a file that is missing, or no such model.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_proto=model.read_bytes())
        return {word: [processor.encode(word, out_type=str)] for word in words}
    except OSError as error:
        raise InputError(f"lexicon {model} cannot be read: {error.strerror}") from None
    except RuntimeError:
        raise InputError(f"lexicon {model} is no model of sentencepiece's") from None
