"""n-gram models of text: Kneser-Ney by kaldingram, which computes as srilm does, written as an ARPA file."""

from __future__ import annotations

import gc
import io
import sys
import unicodedata
from contextlib import contextmanager, redirect_stderr
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..system.errors import InputError
from ..system.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator

# kaldingram has up to 5, and KenLM refuses a model of single words
ORDERS = range(2, 6)
_RESERVED = {"<s>", "</s>", "<unk>", "<UNK>"}
# Discount where the counts give none: an n-gram that was met once would keep nothing of its probability.
_USUAL_DISCOUNT = 0.75


class Counted(NamedTuple):
    """What a model was made of: sentences, words that they have together, and different words."""

    sentences: int
    words: int
    vocabulary: int


def train_ngrams(text: Path, order: int, dest: Path) -> Counted:
    """Write an n-gram model of a text. The same text gives the same file.

    ``<unk>``, any word that the text lacks, is as probable as a word that was met after one other word.

    Args:
        text: UTF-8 file, a sentence a line, words between spaces; brought to Unicode's composed form (NFC).
        order: words of the longest n-gram, one of ``ORDERS``.

    Raises:
        InputError: if kaldingram is missing, the text cannot be read, holds no word, or one that ARPA files use for
            themselves, or the model cannot be written.
    """
    sentences = _sentences(text)
    first = next(sentences, None)
    if first is None:
        raise InputError(f"{text} holds no words")
    try:
        from kaldingram.train import NgramCounts
    except ImportError:
        raise InputError("lm train needs kaldingram: pip install 'summarymixing-fairseq[lm]'") from None
    counts = NgramCounts(order)
    num_sentences = num_words = 0
    vocabulary: set[str] = set()
    # it shows a bar for each step, some of them for a moment
    with redirect_stderr(io.StringIO()), _without_collection():
        for words in chain([first], sentences):
            counts.add_raw_counts_from_line(" ".join(words))
            vocabulary.update(words)
            num_sentences += 1
            num_words += len(words)
        counts.add_count((), sys.intern("<unk>"), "<s>", 1)
        counts.cal_discounting_constants()
        counts.d = [discount if discount < 1 else _USUAL_DISCOUNT for discount in counts.d]
        counts.cal_f()
        counts.cal_bow()
        with atomic_write(dest) as file:
            counts.print_as_arpa(file)
    return Counted(num_sentences, num_words, len(vocabulary))


def _sentences(text: Path) -> Iterator[list[str]]:
    """Words of each line that has any."""
    try:
        with open(text, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                words = unicodedata.normalize("NFC", line).split()
                if reserved := _RESERVED.intersection(words):
                    raise InputError(
                        f"{text}, line {number}: {reserved.pop()} is no word in a language model, remove it"
                    )
                if words:
                    yield words
    except OSError as error:
        raise InputError(f"{text} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{text} is not UTF-8 text") from None


@contextmanager
def _without_collection() -> Iterator[None]:
    """Counts hold no cycles, and to look for some among millions of them takes longer than to count."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
