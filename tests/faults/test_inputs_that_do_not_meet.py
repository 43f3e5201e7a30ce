"""Inputs that do not meet: a lexicon and a language model that write the same words in two ways."""

from __future__ import annotations

import pytest
import soundfile
from encoder_checkpoints import letters, save_recogniser

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.ctc_decoding import BeamDecoder
from summarymixing_fairseq.system.errors import InputError

ARPA = """\\data\\
ngram 1={count}
ngram 2=1

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>{unknown}
-0.7\tab\t-0.3
-0.7\tba\t-0.3

\\2-grams:
-0.2\t<s> ab

\\end\\
"""


@pytest.fixture(params=["", "\n-2.0\t<unk>"], ids=["closed", "with <unk>"])
def model(request, tmp_path):
    """An n-gram model of two words in lower case."""
    path = tmp_path / "words.arpa"
    path.write_text(ARPA.format(unknown=request.param, count=5 if request.param else 4))
    return path


def test_no_word_in_common(model, tmp_path):
    (tmp_path / "lexicon.txt").write_text("AB\tA B |\nBA\tB A |\n")
    with pytest.raises(InputError, match=r"2 of 2 words of .*lexicon\.txt are not in the language model, 'AB' first"):
        BeamDecoder(letters("AB|"), model, tmp_path / "lexicon.txt")


def test_some_words_are_counted(model, tmp_path, tiny_model, speech, capsys):
    soundfile.write(tmp_path / "a.wav", speech[0], 16_000)
    (tmp_path / "lexicon.txt").write_text("ab\tA B |\nBA\tB A |\nba\tB A |\n")
    checkpoint = save_recogniser(tmp_path / "tuned.pt", tiny_model(), "AB|", "A", {"labels": "ltr"}, {})
    beam = ["--lm", model, "--lexicon", tmp_path / "lexicon.txt", "--device", "cpu"]
    assert main(["decode", str(checkpoint), str(tmp_path / "a.wav"), *map(str, beam)]) == 0
    assert "1 of 3 words are not in the language model, 'BA' first" in capsys.readouterr().err


def test_the_models_own_words_are_in_it(model):
    decoder = BeamDecoder(letters("ab|"), model)
    assert (decoder.unscored, decoder.num_words) == ([], 2)
