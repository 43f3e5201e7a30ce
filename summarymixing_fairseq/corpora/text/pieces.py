"""Subword units: byte-pair encoding by sentencepiece, learnt from the texts of train.

A piece at the beginning of a word begins with `▁` (U+2581). To get the text back, remove the spaces, then replace `▁`
by a space: fairseq does so with `criterion.post_process=sentencepiece`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from ...system.errors import InputError

_WORD_BEGINS = "\u2581"
# By default sentencepiece skips texts over 4192 bytes.
_MAX_TEXT_BYTES = 2**30
_ONLY_ERRORS = 2


class Pieces:
    """A trained vocabulary; `model` is the content of its file, which sentencepiece loads."""

    def __init__(self, model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model = model
        self._processor = SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        return self._processor.vocab_size()

    def encode(self, text: str) -> str:
        """`text` as pieces with spaces between. A letter that the vocabulary lacks is a piece of its own."""
        unknown = self._processor.unk_id()
        ids, pieces = (self._processor.encode(text, out_type=form) for form in (int, str))
        # sentencepiece returns neighbouring unknown letters as one piece
        return " ".join(" ".join(piece) if number == unknown else piece for number, piece in zip(ids, pieces))


def train_pieces(texts: Sequence[str], vocabulary_size: int) -> Pieces:
    """Learn `vocabulary_size` pieces from `texts`, sentencepiece's `<unk>` among them. The same texts give the
    same pieces.

    Every letter of `texts` is a piece. Pieces stay within a word; they may hold apostrophes and combining marks.

    Raises:
        InputError: for a vocabulary that is smaller than the letters or larger than the texts yield.
    """
    from sentencepiece import SentencePieceTrainer

    letters = set().union(*texts) - {" "}
    if not letters:
        raise InputError(f"--bpe {vocabulary_size}: train has no text to learn pieces from")
    smallest = len(letters) + len([_WORD_BEGINS, "<unk>"])
    if vocabulary_size < smallest:
        raise InputError(f"--bpe {vocabulary_size}: train has {len(letters)} letters, so give {smallest} or more")
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary_size,
        hard_vocab_limit=False,  # fewer pieces than asked for are an error below, which says how many there can be
        character_coverage=1.0,
        byte_fallback=False,
        normalization_rule_name="identity",  # texts are normalised already, and must come back unchanged
        split_by_unicode_script=False,  # it would split words at apostrophes
        max_sentence_length=_MAX_TEXT_BYTES,
        bos_id=-1,
        eos_id=-1,
        unk_id=0,
        num_threads=1,
        minloglevel=_ONLY_ERRORS,
    )
    pieces = Pieces(model.getvalue())
    if len(pieces) < vocabulary_size:
        raise InputError(f"--bpe {vocabulary_size}: the texts of train yield {len(pieces)} pieces at most")
    return pieces
