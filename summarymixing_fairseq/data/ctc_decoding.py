"""CTC emissions to text: greedy, or beam search over a lexicon with an n-gram model (flashlight-text)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fairseq.data import Dictionary

from ..system.errors import InputError
from .ctc_path import BLANK, Heard, heard_in
from .forced_alignment import align
from .prefix_search import most_probable
from .references import Symbols

WORD_BOUNDARY = "|"
# Beginnings of texts that are kept at each frame, where several texts are asked for without a language model.
_PREFIXES = 32


class Unit(NamedTuple):
    """A word of a text, or another unit.

    Attributes:
        text: of it; start, end: its first frame, and the one after its last.
        confidence: geometric mean of its symbols' highest probabilities, as the model gives them: not calibrated.
    """

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Decoded:
    """A text, its units, and its score: the higher, the better, among texts of one clip by one decoder."""

    units: Sequence[Unit]
    score: float

    @property
    def text(self) -> str:
        """Units between spaces."""
        return " ".join(unit.text for unit in self.units)


def unit_of(text: str, heard: Sequence[Heard]) -> Unit:
    """A unit of the symbols that spell it, one at least."""
    logs = [math.log(max(symbol.confidence, 1e-30)) for symbol in heard]
    return Unit(text, heard[0].start, heard[-1].end, math.exp(sum(logs) / len(logs)))


class GreedyDecoder:
    """Best symbol of every frame, repeats merged, blanks dropped; several texts by a search without a lexicon.

    Scores are natural logarithms of probabilities: of the best path of a single text, of all its paths that were kept
    where several are asked for. The first of several may differ from the single one then.
    """

    def __init__(self, dictionary: Dictionary, symbols: Symbols):
        self.dictionary = dictionary
        self.symbols = symbols
        # not letters either, but a model that has hardly learnt may give them
        self.silent = {BLANK, dictionary.pad(), dictionary.eos()}

    def decode(self, log_probs: np.ndarray, n_best: int = 1) -> list[Decoded]:
        """Texts, the best first: one at least, and ``n_best`` at most.

        Args:
            log_probs: (T, symbols) natural-log probabilities.
        """
        if not len(log_probs):
            return [Decoded((), 0.0)]
        if n_best == 1:
            path = log_probs.argmax(1)
            return [self._decoded(path, log_probs, float(log_probs.max(1).sum()))]
        found: dict[str, Decoded] = {}  # symbols may differ where texts do not, by marks of words
        for labels, score in most_probable(log_probs, 2 * n_best, max(_PREFIXES, 2 * n_best), self.silent):
            places = align(log_probs, labels)
            path = np.where(places < 0, BLANK, np.array([*labels, BLANK])[places])
            decoded = self._decoded(path, log_probs, score)
            found.setdefault(decoded.text, decoded)
        return list(found.values())[:n_best]

    def _decoded(self, path: np.ndarray, log_probs: np.ndarray, score: float) -> Decoded:
        heard = [one for one in heard_in(path, log_probs) if one.symbol not in self.silent]
        units = self.symbols.units_of([self.dictionary[one.symbol] for one in heard])
        return Decoded([unit_of(text, heard[first:end]) for text, first, end in units], score)


def read_lexicon(path: Path) -> dict[str, list[list[str]]]:
    """All spellings of each word, of `word<TAB>l e t t e r s |` lines.

    Raises:
        InputError: for a file that is missing, empty or malformed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"lexicon {path} cannot be read: {error}") from None
    lexicon: dict[str, list[list[str]]] = {}
    for number, line in enumerate(lines, start=1):
        word, *spelling = line.split() or [""]
        if not spelling:
            raise InputError(f"{path}, line {number}: {line!r} is not a word and its letters")
        lexicon.setdefault(word, []).append(spelling)
    if not lexicon:
        raise InputError(f"lexicon {path} is empty")
    return lexicon


def lexicon_of_arpa(path: Path) -> dict[str, list[list[str]]]:
    """Spell the words of an ARPA file's unigrams in letters.

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
    return {word: [[*word, WORD_BOUNDARY]] for word in words}


class BeamDecoder:
    """Beam search over words of a lexicon, scored by an n-gram model.

    Args:
        language_model: ARPA file or KenLM binary; lexicon: word and letters a line, or None to spell the ARPA's words.
        beam_size: hypotheses kept at each frame; lm_weight: weight of the model's log10 probabilities; word_score:
            added for each word (negative: fewer words).

    Attributes:
        num_words: that can be spelled; num_unspellable: words that cannot; unscored: words that can, but that the
            n-gram model lacks.

    Raises:
        InputError: if flashlight-text is missing, a file cannot be read, no word can be spelled, or the n-gram model
            lacks all of them.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        language_model: Path,
        lexicon: Path | None = None,
        beam_size: int = 100,
        lm_weight: float = 2.0,
        word_score: float = 0.0,
    ):
        try:
            from flashlight.lib.text import decoder as flashlight
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary as WordDictionary
        except ImportError:
            raise InputError("--lm needs flashlight-text: pip install 'summarymixing-fairseq[lm]'") from None
        if WORD_BOUNDARY not in dictionary:
            raise InputError(f"beam search needs letters with {WORD_BOUNDARY!r} between words in the dictionary")
        spellings = read_lexicon(lexicon) if lexicon else lexicon_of_arpa(language_model)
        known = {w: [s for s in ways if all(letter in dictionary for letter in s)] for w, ways in spellings.items()}
        spellable = {word: ways for word, ways in known.items() if ways}
        if not spellable:
            raise InputError(f"no word of {lexicon or language_model} can be spelled with the model's letters")
        self.num_unspellable = len(spellings) - len(spellable)
        # flashlight-text holds no reference to the dictionary, the trie and the model: keep them alive here
        self._words = WordDictionary()
        for word in [*spellable, "<unk>"]:
            self._words.add_entry(word)
        unknown = self._words.get_index("<unk>")
        if not language_model.is_file():
            raise InputError(f"language model {language_model} cannot be read: no such file")
        try:
            self._lm = KenLM(str(language_model), self._words)
        except (RuntimeError, ValueError) as error:
            # KenLM quotes the file; what is no UTF-8 does not even become a RuntimeError
            reason = str(error).strip().splitlines()[-1] if isinstance(error, RuntimeError) else "it is no text"
            raise InputError(f"language model {language_model} cannot be read (2-gram or higher?): {reason}") from None
        self._boundary = boundary = dictionary.index(WORD_BOUNDARY)
        self._trie = flashlight.Trie(len(dictionary), boundary)
        start = self._lm.start(False)
        of_unknown = self._score_between(start, unknown)
        self.unscored = []
        for word, ways in spellable.items():
            index = self._words.get_index(word)
            score, after = self._score_between(start, index)
            if (score, after) == of_unknown:
                self.unscored.append(word)
            for spelling in ways:
                self._trie.insert([dictionary.index(letter) for letter in spelling], index, score)
        self.num_words = len(spellable)
        if len(self.unscored) == self.num_words:
            raise InputError(
                f"{self.num_words} of {self.num_words} words of {lexicon or language_model} are not in the language "
                f"model, {self.unscored[0]!r} first: write them as {language_model} does (letter case, accents as NFC)"
            )
        self._trie.smear(flashlight.SmearingMode.MAX)
        options = flashlight.LexiconDecoderOptions(
            beam_size=beam_size,
            beam_size_token=len(dictionary),
            beam_threshold=50.0,
            lm_weight=lm_weight,
            word_score=word_score,
            unk_score=-float("inf"),
            sil_score=0.0,
            log_add=False,
            criterion_type=flashlight.CriterionType.CTC,
        )
        self._decoder = flashlight.LexiconDecoder(options, self._trie, self._lm, boundary, BLANK, unknown, [], False)

    def _score_between(self, start: Any, word: int) -> tuple[float, float]:
        """Scores of a word at the start of a text, and of the end after it: words the model lacks have the same."""
        state, score = self._lm.score(start, word)
        return score, self._lm.finish(state)[1]

    def decode(self, log_probs: np.ndarray, n_best: int = 1) -> list[Decoded]:
        """Texts, the best first: one at least, and ``n_best`` at most. Scores are those of the search.

        Args:
            log_probs: (T, symbols) natural-log probabilities.
        """
        if not len(log_probs):
            return [Decoded((), 0.0)]
        emissions = np.ascontiguousarray(log_probs, dtype=np.float32)
        results = self._decoder.decode(emissions.ctypes.data, *emissions.shape)
        found: dict[str, Decoded] = {}  # one text may come by several paths
        for result in results:
            decoded = self._decoded(result, log_probs)
            found.setdefault(decoded.text, decoded)
            if len(found) == n_best:
                break
        return list(found.values()) or [Decoded((), 0.0)]

    def _decoded(self, result: Any, log_probs: np.ndarray) -> Decoded:
        """A result of flashlight's, which has an entry before the first frame and one after the last."""
        path, words = np.array(result.tokens[1 : len(log_probs) + 1]), result.words[1 : len(log_probs) + 2]
        heard = [one for one in heard_in(path, log_probs) if one.symbol != self._boundary]
        units, place = [], 0
        # a word stands at the frame that ends it
        for frame, word in enumerate(words):
            if word < 0:
                continue
            before = place
            while place < len(heard) and heard[place].start <= frame:
                place += 1
            if place > before:  # no letters: no word of a lexicon
                units.append(unit_of(self._words.get_entry(word), heard[before:place]))
        return Decoded(units, result.score)
