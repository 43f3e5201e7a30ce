"""WER and CER against an edit distance written out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.probing.metrics.error_rate import character_error_rate, word_error_rate


def edit_distance(a, b) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


texts = st.lists(st.text("ab é ", max_size=12), min_size=3, max_size=3)


@given(texts, texts)
def test_equal_the_plain_edit_distance(references, hypotheses):
    wer, cer = word_error_rate(references, hypotheses), character_error_rate(references, hypotheses)
    assert wer.errors == sum(edit_distance(r.split(), h.split()) for r, h in zip(references, hypotheses))
    assert wer.total == sum(len(r.split()) for r in references)
    one_space = [[" ".join(text.split()) for text in side] for side in (references, hypotheses)]
    assert cer.errors == sum(edit_distance(r, h) for r, h in zip(*one_space))
    assert cer.total == sum(len(r) for r in one_space[0])


def test_rates():
    wer = word_error_rate(["the cat sat", "a dog"], ["the cat", "a big dog"])
    assert (wer.errors, wer.total, wer.rate) == (2, 5, 0.4)
    assert character_error_rate(["ab  cd"], ["ab cd"]).errors == 0
    assert word_error_rate(["a"], ["b c d"]).rate == 3
    assert math.isnan(word_error_rate([""], ["a"]).rate) and math.isnan(word_error_rate([], []).rate)


def test_errors_and_lengths_of_each_utterance():
    wer = word_error_rate(["the cat sat", "a dog", ""], ["the cat", "a big dog", "oh no"])
    assert wer.utterance_errors.tolist() == [1, 1, 2] and wer.utterance_lengths.tolist() == [3, 2, 0]
    cer = character_error_rate(["ab  cd", "x"], ["ab ce", ""])
    assert cer.utterance_errors.tolist() == [1, 1] and cer.utterance_lengths.tolist() == [5, 1]


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError):
        word_error_rate(["a", "b"], ["a"])
