"""Keys that are not unique: every spelling of a word counts."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from encoder_checkpoints import letters

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.ctc_decoding import BeamDecoder, read_lexicon

ARPA = """\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>
-0.7\tread\t-0.3
-0.7\tred\t-0.3

\\2-grams:
-0.2\t<s> red

\\end\\
"""


@pytest.mark.parametrize("order", [1, -1])
def test_two_spellings_of_a_word(tmp_path, order):
    spellings = ["read\tR E D |", "read\tR I D |"][::order]
    (tmp_path / "lexicon.txt").write_text("\n".join(spellings) + "\n")
    (tmp_path / "words.arpa").write_text(ARPA)
    dictionary = letters("REID|")
    decoder = BeamDecoder(dictionary, tmp_path / "words.arpa", tmp_path / "lexicon.txt")
    for heard in ("RED|", "RID|"):
        emissions = np.full((len(heard), len(dictionary)), -20.0)
        emissions[range(len(heard)), [dictionary.index(letter) for letter in heard]] = 0.0
        assert decoder.decode(emissions)[0].text == "read"
    assert len(read_lexicon(tmp_path / "lexicon.txt")["read"]) == 2


def test_kaldis_lexicon_has_a_word_for_all_others(tmp_path):
    (tmp_path / "lexicon.txt").write_text("<unk>\tE |\nread\tR E D |\n")
    (tmp_path / "words.arpa").write_text(ARPA)
    decoder = BeamDecoder(letters("RED|"), tmp_path / "words.arpa", tmp_path / "lexicon.txt")
    assert (decoder.num_words, decoder.num_unspellable) == (1, 0)


def test_a_word_of_which_one_spelling_has_other_letters(tmp_path):
    (tmp_path / "lexicon.txt").write_text("read\tR E D |\nread\tR Ë D |\n")
    (tmp_path / "words.arpa").write_text(ARPA)
    assert BeamDecoder(letters("RED|"), tmp_path / "words.arpa", tmp_path / "lexicon.txt").num_unspellable == 0


def test_a_clip_with_one_sentence_in_each_of_two_tables(tmp_path, speech):
    """Of Common Voice; before, a clip had the sentence of the last table."""
    root, dest = tmp_path / "cy", tmp_path / "out"
    (root / "clips").mkdir(parents=True)
    for name in "abc":
        soundfile.write(root / "clips" / f"{name}.mp3", speech[0], 16_000, format="MP3")
    tables = {"train": "1\ta.mp3\tun\n", "dev": "2\tb.mp3\tdau\n3\tc.mp3\ttri\n", "test": "3\tc.mp3\tpedwar\n"}
    for split, rows in tables.items():
        (root / f"{split}.tsv").write_text("client_id\tpath\tsentence\n" + rows)
    assert main(["manifest", "commonvoice", str(root), "--dest", str(dest)]) == 0
    assert "clips/c.mp3\tseveral transcripts for one clip: in several tables" in (dest / "refused.tsv").read_text()
    assert (dest / "valid.wrd").read_text() == "dau\n" and not (dest / "test.tsv").exists()
