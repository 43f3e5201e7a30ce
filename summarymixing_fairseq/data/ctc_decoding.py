"""CTC emissions to text: greedy, or beam search over a lexicon with an n-gram model (flashlight-text).

Times are in frames: `FrameTimes` makes them seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary

from ..system.errors import InputError
from .alignments import Interval
from .ctc_path import BLANK, Heard, heard_in
from .forced_alignment import aligned_symbols
from .lexicons import read_lexicon, spelled_in_pieces, words_of_arpa
from .prefix_search import most_probable
from .references import Symbols
from .transcripts import Hypothesis

WORD_BOUNDARY = "|"
# Beginnings of texts that are kept at each frame, where several texts are asked for without a language model.
_PREFIXES = 32


def unit_of(text: str, heard: Sequence[Heard]) -> Interval:
    """A word or another unit, in frames, of the symbols that spell it, one at least.

    Its confidence is the geometric mean of their highest probabilities, as the model gives them: not calibrated.
    """
    logs = [math.log(max(symbol.confidence, 1e-30)) for symbol in heard]
    return Interval(text, heard[0].start, heard[-1].end, math.exp(sum(logs) / len(logs)))


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

    def decode(self, log_probs: np.ndarray, n_best: int = 1) -> list[Hypothesis]:
        """Texts, the best first: one at least, and ``n_best`` at most.

        Args:
            log_probs: (T, symbols) natural-log probabilities.
        """
        if not len(log_probs):
            return [Hypothesis((), 0.0)]
        if n_best == 1:
            path = log_probs.argmax(1)
            return [self._decoded(path, log_probs, float(log_probs.max(1).sum()))]
        found: dict[str, Hypothesis] = {}  # symbols may differ where texts do not, by marks of words
        for labels, score in most_probable(log_probs, 2 * n_best, max(_PREFIXES, 2 * n_best), self.silent):
            decoded = self._decoded(aligned_symbols(log_probs, labels), log_probs, score)
            found.setdefault(decoded.text, decoded)
        return list(found.values())[:n_best]

    def units(self, log_probs: np.ndarray) -> tuple[list[Interval], bool]:
        """Units of the best path, and whether the last one may go on in frames that follow these."""
        heard = self._heard(log_probs.argmax(1), log_probs)
        units = self._units(heard)
        if not units:
            return [], False
        if units[-1].end == len(log_probs):  # its last symbol may last
            return units, True
        begun = [self.dictionary[one.symbol] for one in heard if one.start >= units[-1].start]
        more = (symbol for number, symbol in enumerate(self.dictionary.symbols) if number not in self.silent)
        return units, any(self.symbols.units_of([*begun, symbol])[0][2] > len(begun) for symbol in more)

    def _decoded(self, path: np.ndarray, log_probs: np.ndarray, score: float) -> Hypothesis:
        return Hypothesis(tuple(self._units(self._heard(path, log_probs))), score)

    def _heard(self, path: np.ndarray, log_probs: np.ndarray) -> list[Heard]:
        return [one for one in heard_in(path, log_probs) if one.symbol not in self.silent]

    def _units(self, heard: Sequence[Heard]) -> list[Interval]:
        units = self.symbols.units_of([self.dictionary[one.symbol] for one in heard])
        return [unit_of(text, heard[first:end]) for text, first, end in units]


class BeamDecoder:
    """Beam search over words of a lexicon, scored by an n-gram model of words.

    After a word flashlight-text lets only the mark between words go on from frame to frame. A word in letters ends with
    that mark. A word in pieces ends with a piece, which could then last for one frame only: such a word is entered
    twice, as it is and with its last piece doubled. Where the search has put a blank between the two copies, the second
    one is removed, and the text is aligned again.

    Args:
        language_model: ARPA file or KenLM binary.
        lexicon: file with a word and its letters or pieces a line; or `bpeN.model`, which spells the words of the ARPA
            in pieces; None: these in letters.
        beam_size: hypotheses kept at each frame; lm_weight, word_score: see ``weigh``.

    Attributes:
        num_words: that can be spelled; num_unspellable: words that cannot; unscored: words that can, but that the
            n-gram model lacks.

    Raises:
        InputError: if flashlight-text is missing, a file cannot be read, no word can be spelled, the n-gram model lacks
            all of them, or ``beam_size`` is below 1.
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
        if beam_size < 1:
            raise InputError(f"beam_size={beam_size}: must be at least 1")
        try:
            from flashlight.lib.text import decoder as flashlight
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary as WordDictionary
        except ImportError:
            raise InputError("--lm needs flashlight-text: pip install 'summarymixing-fairseq[lm]'") from None
        has_marks = WORD_BOUNDARY in dictionary
        if lexicon and lexicon.suffix == ".model":
            spellings = spelled_in_pieces(words_of_arpa(language_model), lexicon)
        elif lexicon:
            spellings = read_lexicon(lexicon)
        elif has_marks:
            spellings = {word: [[*word, WORD_BOUNDARY]] for word in words_of_arpa(language_model)}
        else:
            raise InputError(
                f"the model's symbols have no {WORD_BOUNDARY!r} between words: say by --lexicon how they spell words, "
                "for pieces by bpeN.model beside the labels"
            )
        spellings.pop("<unk>", None)  # of Kaldi's lexica; it stands for every other word
        known = {w: [s for s in ways if all(symbol in dictionary for symbol in s)] for w, ways in spellings.items()}
        spellable = {word: ways for word, ways in known.items() if ways}
        if not spellable:
            raise InputError(f"no word of {lexicon or language_model} can be spelled with the model's symbols")
        self.beam_size = beam_size
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
        # what may stand between two words
        self._boundary = dictionary.index(WORD_BOUNDARY) if has_marks else dictionary.eos()
        self._trie = flashlight.Trie(len(dictionary), self._boundary)
        start = self._lm.start(False)
        of_unknown = self._score_between(start, unknown)
        self.unscored = []
        # of words of which a spelling ends without a mark, all spellings without their marks
        self._without_mark: dict[int, list[list[int]]] = {}
        for word, ways in spellable.items():
            index = self._words.get_index(word)
            score, after = self._score_between(start, index)
            if (score, after) == of_unknown:
                self.unscored.append(word)
            spelled = [[dictionary.index(symbol) for symbol in spelling] for spelling in ways]
            for symbols in spelled:
                self._trie.insert(symbols, index, score)
                if symbols[-1] != self._boundary:
                    self._trie.insert([*symbols, symbols[-1]], index, score)
            if any(symbols[-1] != self._boundary for symbols in spelled):
                self._without_mark[index] = [[one for one in symbols if one != self._boundary] for symbols in spelled]
        self.num_words = len(spellable)
        if len(self.unscored) == self.num_words:
            raise InputError(
                f"{self.num_words} of {self.num_words} words of {lexicon or language_model} are not in the language "
                f"model, {self.unscored[0]!r} first: write them as {language_model} does (letter case, accents as NFC)"
            )
        self._trie.smear(flashlight.SmearingMode.MAX)

        def search(lm_weight: float, word_score: float) -> Any:
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
            return flashlight.LexiconDecoder(options, self._trie, self._lm, self._boundary, BLANK, unknown, [], False)

        self._search = search
        self.weigh(lm_weight, word_score)

    def weigh(self, lm_weight: float, word_score: float) -> None:
        """Set the weight of the model's log10 probabilities, and what is added for each word (negative: fewer words).

        A text's score is the natural logarithm of its path's probability, and these.
        """
        self.lm_weight, self.word_score = lm_weight, word_score
        self._decoder = self._search(lm_weight, word_score)

    def _score_between(self, start: Any, word: int) -> tuple[float, float]:
        """Scores of a word at the start of a text, and of the end after it: words the model lacks have the same."""
        state, score = self._lm.score(start, word)
        return score, self._lm.finish(state)[1]

    def decode(self, log_probs: np.ndarray, n_best: int = 1) -> list[Hypothesis]:
        """Texts, the best first: one at least, and ``n_best`` at most. Scores are those of the search.

        Args:
            log_probs: (T, symbols) natural-log probabilities.
        """
        if not len(log_probs):
            return [Hypothesis((), 0.0)]
        emissions = np.ascontiguousarray(log_probs, dtype=np.float32)
        results = self._decoder.decode(emissions.ctypes.data, *emissions.shape)
        found: dict[str, Hypothesis] = {}  # one text may come by several paths
        for result in results:
            # a score may fall below that of the search, and never rises
            if len(found) >= n_best and sorted(one.score for one in found.values())[-n_best] >= result.score:
                break
            decoded = self._decoded(result, log_probs)
            if decoded.text not in found or found[decoded.text].score < decoded.score:
                found[decoded.text] = decoded
        best = sorted(found.values(), key=lambda one: -one.score)
        return best[:n_best] or [Hypothesis((), 0.0)]

    def _decoded(self, result: Any, log_probs: np.ndarray) -> Hypothesis:
        """A result of flashlight's, which has an entry before the first frame and one after the last."""
        path, words = np.array(result.tokens[1 : len(log_probs) + 1]), result.words[1 : len(log_probs) + 2]
        heard = [one for one in heard_in(path, log_probs) if one.symbol != self._boundary]
        said: list[tuple[str, list[int]]] = []  # words and their symbols
        place, is_doubled = 0, False
        # a word stands at the frame that ends it
        for frame, word in enumerate(words):
            if word < 0:
                continue
            before = place
            while place < len(heard) and heard[place].start <= frame:
                place += 1
            symbols = [one.symbol for one in heard[before:place]]
            if word in self._without_mark and symbols not in self._without_mark[word]:
                is_doubled = True
                symbols.pop()
            if symbols:  # no letters: no word of a lexicon
                said.append((self._words.get_entry(word), symbols))
        score = result.score
        if is_doubled:
            labels = [symbol for _, symbols in said for symbol in symbols]
            aligned = aligned_symbols(log_probs, labels)
            frames = np.arange(len(path))
            score += float(log_probs[frames, aligned].sum() - log_probs[frames, path].sum())
            heard = heard_in(aligned, log_probs)
        units, place = [], 0
        for text, symbols in said:
            units.append(unit_of(text, heard[place : place + len(symbols)]))
            place += len(symbols)
        return Hypothesis(tuple(units), score)
