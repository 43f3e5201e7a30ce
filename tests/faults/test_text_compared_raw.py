"""Text compared raw: composed forms on both sides, and what of the errors is a way of writing only."""

from __future__ import annotations

import logging
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from encoder_checkpoints import letters, save_recogniser

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.manifest_check import check_folder
from summarymixing_fairseq.probing.evaluation import evaluate_recognition
from summarymixing_fairseq.probing.metrics.error_rate import character_error_rate, notes_on_writing, word_error_rate


@pytest.fixture
def data(tmp_path, speech):
    """A clip with words and letters."""
    soundfile.write(tmp_path / "a.wav", speech[0], 16_000)
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\na.wav\t{len(speech[0])}\n")
    (tmp_path / "test.wrd").write_text("É\n")
    (tmp_path / "test.ltr").write_text("É |\n")
    return tmp_path


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_composed_and_decomposed_letters_are_the_same(form, other):
    texts = [[unicodedata.normalize(each, "hen ŵyl yn dôd")] for each in (form, other)]
    for rate in (word_error_rate(*texts), character_error_rate(*texts)):
        assert rate.errors == 0
    assert character_error_rate(*texts).total == len("hen ŵyl yn dôd")


@pytest.mark.parametrize(
    "reference, hint",
    [
        ("HELLO BIG WORLD", None),
        ("hello big world", "3 of 3 errors are of letter case only"),
        ("HELLO, BIG WORLD!", "2 of 2 errors are of punctuation only"),
        ("Hello, big world.", "3 of 3 errors are of letter case and punctuation only"),
        ("SOMETHING ELSE", None),
        ("hello SOMETHING ELSE", None),
    ],
)
def test_writing_that_explains_errors(reference, hint):
    found = notes_on_writing([reference], ["HELLO BIG WORLD"])
    assert len(found) == (hint is not None) and all(note.startswith(hint) for note in found)


def test_apostrophes():
    assert notes_on_writing(["don’t"], ["DON'T"])[0].startswith("1 of 1 errors are of letter case and punctuation")


@pytest.mark.parametrize(
    "words, error, hint",
    [
        ("E\u0301", "WER 0.00 %", "1 lines of references and hypotheses have decomposed letters: compared as NFC"),
        ("é.", "WER 100.00 %", "1 of 1 errors are of letter case and punctuation only"),
    ],
)
def test_decode(data, tiny_model, capsys, words, error, hint):
    (data / "test.wrd").write_text(f"{words}\n")
    checkpoint = save_recogniser(data / "tuned.pt", tiny_model(), "É|", "É", {"labels": "ltr"}, {})
    assert main(["decode", str(checkpoint), "--data", str(data), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert error in said and hint in said and ("errors are of" in said) == ("100" in error)


def test_evaluate(data, caplog):
    (data / "test.wrd").write_text("é\n")
    dictionary = letters("É|")
    probe = SimpleNamespace(config={"task": {"labels": "ltr"}}, dictionary=dictionary, path="probe.pt")
    evaluation = SimpleNamespace(
        **{"probe": probe, "data": data, "split": "test", "names": "x", "num_replicates": 9, "seed": 0},
        outputs=lambda name: [np.eye(len(dictionary))[[dictionary.index("É")]]],
        results=lambda metrics, counts: metrics,
    )
    with caplog.at_level(logging.WARNING):
        evaluate_recognition(evaluation)
    assert "1 of 1 errors are of letter case only" in caplog.text


@pytest.mark.parametrize(
    "words, spelled",
    [("é", "'é', but test.ltr spells 'É'"), ("É É", "'É É', but test.ltr spells 'É'"), ("E\u0301", None)],
)
def test_check_manifest_compares_words_with_letters(data, words, spelled):
    (data / "test.wrd").write_text(f"{words}\n")
    problems = dict(check_folder(data, ["test"]).problems)
    assert problems == ({} if spelled is None else {"words other than in .ltr": [("test.wrd, line 1", spelled)]})


@pytest.mark.parametrize("pieces, wrong", [("▁h é", 1), ("▁ É", 0), ("ey", 0)])
def test_check_manifest_compares_words_with_pieces(data, pieces, wrong):
    (data / "test.bpe4").write_text(f"{pieces}\n")
    (data / "dict.bpe4.txt").write_text("".join(f"{piece} 1\n" for piece in pieces.split()))
    assert len(check_folder(data, ["test"]).problems["words other than in .bpe4"]) == wrong
