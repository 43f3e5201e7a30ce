"""A language model out of text, its weights out of a validation split, and what a search with it gives."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import toned as sounds
from encoder_checkpoints import letters, save_recogniser

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.weight_search import least_cost

pytest.importorskip("kaldingram")
pytest.importorskip("flashlight.lib.text.decoder.kenlm")

from summarymixing_fairseq.data.ctc_decoding import BeamDecoder  # noqa: E402
from summarymixing_fairseq.data.ngrams import train_ngrams  # noqa: E402

SENTENCES = ["a b", "a c a b", "b c", "", "c a b a", "a b c", "é a"]


def pairwise(words):
    return list(zip(words, words[1:]))


def read_arpa(path: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Probability and back-off of each n-gram."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        score, *rest = line.split("\t")
        if rest:
            found[tuple(rest[0].split())] = (10 ** float(score), 10 ** float(rest[1]) if rest[1:] else 1.0)
    return found


def probability(arpa: dict, history: tuple[str, ...], word: str) -> float:
    if (*history, word) in arpa:
        return arpa[(*history, word)][0]
    back_off = arpa[history][1] if history in arpa else 1.0
    return back_off * probability(arpa, history[1:], word)


def written(tmp_path: Path, sentences: list[str], order: int) -> dict:
    (tmp_path / "text").write_text("\n".join(sentences) + "\n", encoding="utf-8-sig")  # with a byte-order mark
    train_ngrams(tmp_path / "text", order, tmp_path / "words.arpa")
    return read_arpa(tmp_path / "words.arpa")


def test_bigrams_by_the_formula_of_kneser_and_ney(tmp_path):
    """(c(hw) - D) / c(h) + what is left, times the share of contexts that w was met in; <unk> has one context."""
    arpa = written(tmp_path, SENTENCES, 2)
    pairs = Counter(pair for line in filter(None, SENTENCES) for pair in pairwise(["<s>", *line.split(), "</s>"]))
    contexts = Counter(word for _, word in pairs) + Counter(["<unk>"])
    lower = {word: number / sum(contexts.values()) for word, number in contexts.items()}
    once, twice = (sum(count == n for count in pairs.values()) for n in (1, 2))
    discount = once / (once + 2 * twice)
    for history, word in itertools.product(["<s>", "a", "b", "c", "é"], lower):
        of_history = {w: count for (h, w), count in pairs.items() if h == history}
        total = sum(of_history.values())
        expected = (of_history[word] - discount) / total if word in of_history else None
        if expected is None:  # what the discount has left goes to words that were not met here
            left = discount * len(of_history) / total
            expected = left * lower[word] / (1 - sum(lower[w] for w in of_history))
        assert probability(arpa, (history,), word) == pytest.approx(expected, rel=1e-4), (history, word)


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("sentences", [SENTENCES, ["a b c d"], ["a"]], ids=["some", "all met once", "a word"])
def test_probabilities_sum_to_one(tmp_path, order, sentences):
    """Also where no n-gram was met twice, of which no discount can be told."""
    arpa = written(tmp_path, sentences, order)
    words = {ngram[0] for ngram in arpa if len(ngram) == 1} - {"<s>"}
    assert words == {*" ".join(sentences).split(), "</s>", "<unk>"}
    for history in [(), *(ngram for ngram in arpa if len(ngram) < order and ngram[-1] not in ("</s>", "<unk>"))]:
        assert sum(probability(arpa, history, word) for word in words) == pytest.approx(1, abs=1e-5), history
    met = [ngram for ngram in arpa if ngram != ("<s>",)]
    assert all(arpa[ngram][0] > 1e-3 for ngram in met)


def test_the_command(tmp_path, capsys):
    text = tmp_path / "train.wrd"
    text.write_text("e\u0301 a\n\na\n", encoding="utf-8")
    assert main(["lm", "train", str(text), "--order", "3"]) == 0
    arpa = tmp_path / "train.wrd.3gram.arpa"
    assert capsys.readouterr().out == f"{arpa}: 3-grams of 2 sentences, 3 words, 2 of them different\n"
    assert ("é",) in read_arpa(arpa)
    first = arpa.read_bytes()
    assert main(["lm", "train", str(text), "--order", "3"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["lm", "train", str(text), "--order", "3", "--force"]) == 0 and arpa.read_bytes() == first
    for content, message in (
        (b"a <s> b", r"line 1: <s> is no word"),
        (b"\n", "holds no words"),
        (b"\xff", "is not UTF-8"),
    ):
        (tmp_path / "bad").write_bytes(content)
        assert main(["lm", "train", str(tmp_path / "bad"), "--dest", str(tmp_path / "bad.arpa")]) == 1
        assert re.search(rf"^summarymixing lm: \S+bad,? {message}", capsys.readouterr().err)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "train.wrd", arpa.name]


def test_a_word_that_the_model_lacks_is_counted_and_can_be_heard(tmp_path):
    written(tmp_path, ["AB BA AB", "BA AB"], 2)
    (tmp_path / "lexicon").write_text("AB\tA B |\nBA\tB A |\nABBA\tA B B A |\n")
    dictionary = letters("AB|")
    decoder = BeamDecoder(dictionary, tmp_path / "words.arpa", tmp_path / "lexicon")
    assert decoder.unscored == ["ABBA"] and decoder.num_words == 3
    heard = [dictionary.index(letter) if letter != "_" else 0 for letter in "AB_BA|"]
    emissions = np.full((len(heard), len(dictionary)), -20.0)
    emissions[range(len(heard)), heard] = 0.0
    assert decoder.decode(emissions)[0].text == "ABBA"


def test_a_word_heard_by_one_of_its_spellings_keeps_its_letters(tmp_path):
    """Also where another spelling of it has no mark at its end."""
    written(tmp_path, ["AB BA AB", "BA AB"], 2)
    (tmp_path / "lexicon").write_text("AB\tA B B |\nAB\tB A\n")
    dictionary = letters("AB|")
    decoder = BeamDecoder(dictionary, tmp_path / "words.arpa", tmp_path / "lexicon")
    heard = [dictionary.index(letter) if letter != "_" else 0 for letter in "AB_B|"]
    emissions = np.full((len(heard), len(dictionary)), -20.0)
    emissions[range(len(heard)), heard] = 0.0
    (unit,) = decoder.decode(emissions)[0].words
    assert unit.label == "AB" and (unit.start, unit.end) == (0, 4)


def test_the_least_cost_is_found_and_nothing_asked_twice():
    asked = []

    def cost(lm_weight, word_score):
        asked.append((lm_weight, word_score))
        return ((lm_weight - 2.75) ** 2 + (word_score - 3.25) ** 2,)

    assert least_cost(cost) == (2.75, 3.25)
    assert len(asked) == len(set(asked)) < 50 and min(weight for weight, _ in asked) >= 0
    assert least_cost(lambda lm_weight, word_score: (1,)) == (0.5, 0.0)


@pytest.fixture
def split(tmp_path) -> Path:
    """Sounds of `toned` with noise, so that not all words are heard."""
    rows = [str(tmp_path)]
    texts = [sounds.sentence(8, seed) for seed in range(70, 74)]
    for number, text in enumerate(texts):
        wave = sounds.spoken(text, number).waveform
        wave = wave + np.random.default_rng(number).normal(0, 0.12, len(wave))
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000)
        rows.append(f"{number}.wav\t{len(wave)}")
    (tmp_path / "valid.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "valid.wrd").write_text("\n".join(texts) + "\n")
    (tmp_path / "words").write_text("\n".join(sounds.sentence(9, seed) for seed in range(40)) + "\n")
    train_ngrams(tmp_path / "words", 2, tmp_path / "words.arpa")
    return tmp_path


def test_weights_are_tuned_printed_and_usable_again(toned, split, capsys):
    arguments = ["decode", str(toned), "--data", str(split), "--split", "valid", "--device", "cpu"]
    arguments += ["--lm", str(split / "words.arpa"), "--beam", "20"]
    assert main([*arguments, "--tune", "--results", str(split / "tuned")]) == 0
    out, err = capsys.readouterr()
    tried = {options: float(rate) for options, rate in re.findall(r"^(--lm-weight .*): WER ([\d.]+) %$", err, re.M)}
    best = out.splitlines()[0]
    assert len(tried) > 12 and tried[best] == min(tried.values()) < max(tried.values())
    scores = json.loads((split / "tuned" / "scores.json").read_text())
    assert best == f"--lm-weight {scores['lm_weight']:g} --word-score {scores['word_score']:g}"
    assert main([*arguments, *best.split(), "--results", str(split / "again")]) == 0
    again = json.loads((split / "again" / "scores.json").read_text())
    assert again["wer"] == scores["wer"] == pytest.approx(tried[best] / 100, abs=1e-4)
    assert (split / "again" / "hypo.wrd").read_bytes() == (split / "tuned" / "hypo.wrd").read_bytes()
    for without in (["--lm"], ["--data", "--split"]):
        some = [*arguments, "--tune"]
        for option in without:
            del some[some.index(option) : some.index(option) + 2]
        assert main(some) == 1 and "--tune needs" in capsys.readouterr().err


ARPA = (
    "\\data\\\nngram 1=6\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.3\n-1\t</s>\n-2\t<unk>\n-0.7\tA\t-0.3\n-0.9\tAB\t-0.2\n"
)
ARPA += "-0.5\tABB\t-0.1\n\n\\2-grams:\n-0.2\t<s> AB\n-0.1\tAB A\n\n\\end\\\n"
PIECES = {("▁A",): "A", ("▁A", "B"): "AB", ("▁A", "B", "B"): "ABB", ("▁AB",): "AB"}


def parsed(pieces: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All ways to read pieces as words."""
    if not pieces:
        return [()]
    return [(PIECES[pieces[:n]], *rest) for n in range(1, 4) if pieces[:n] in PIECES for rest in parsed(pieces[n:])]


def test_pieces_by_all_their_paths(tmp_path):
    """A piece at the end of a word may last, a word be spelled in two ways, and one begin as another ends."""
    (tmp_path / "words.arpa").write_text(ARPA)
    (tmp_path / "lexicon").write_text("".join(f"{word}\t{' '.join(pieces)}\n" for pieces, word in PIECES.items()))
    dictionary = letters(["▁A", "B", "▁AB"])
    decoder = BeamDecoder(dictionary, tmp_path / "words.arpa", tmp_path / "lexicon", 500, 1.0, 0.3)
    arpa = read_arpa(tmp_path / "words.arpa")
    symbols = [0, *(dictionary.index(piece) for piece in ("▁A", "B", "▁AB"))]
    paths = np.array(list(itertools.product(symbols, repeat=4)))
    texts = [parsed(tuple(dictionary[s] for s, _ in itertools.groupby(path) if s)) for path in paths]
    for seed in range(60):
        log_probs = np.full((4, len(dictionary)), -30.0)
        log_probs[:, symbols] = np.log(np.random.default_rng(seed).dirichlet(np.full(4, 0.5), 4))
        scores: dict[tuple[str, ...], float] = {}
        for path, score in zip(texts, log_probs[range(4), paths].sum(1)):
            for words in path:
                of_words = sum(
                    math.log10(probability(arpa, pair[:1], pair[1])) for pair in pairwise(("<s>", *words, "</s>"))
                )
                total = score + of_words + 0.3 * len(words)
                scores[words] = max(scores.get(words, -math.inf), total)
        best = max(scores, key=scores.__getitem__)
        found = decoder.decode(log_probs)[0]
        assert found.text == " ".join(best) and found.score == pytest.approx(scores[best], abs=1e-3), seed
        assert [unit.label for unit in found.words] == list(best)


def test_pieces_are_decoded_with_their_model(tmp_path, tiny_model, speech, capsys):
    from summarymixing_fairseq.corpora.text.pieces import train_pieces

    pieces = train_pieces(["abab ab", "ab ba"], 6)
    (tmp_path / "bpe6.model").write_bytes(pieces.model)
    soundfile.write(tmp_path / "a.wav", speech[0], 16_000)
    symbols = sorted({piece for word in ("ab", "ba", "abab") for piece in pieces.encode(word).split()})
    (heard,) = pieces.encode("ab").split()
    task, criterion = {"labels": "bpe6"}, {"post_process": "sentencepiece"}
    checkpoint = save_recogniser(tmp_path / "tuned.pt", tiny_model(), symbols, heard, task, criterion)
    written(tmp_path, ["ab ba", "ab ba abab"], 2)
    arguments = ["decode", str(checkpoint), str(tmp_path / "a.wav"), "--lm", str(tmp_path / "words.arpa")]
    assert main([*arguments, "--lexicon", str(tmp_path / "bpe6.model"), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.wav'}\tab\n"
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "say by --lexicon how they spell words, for pieces by bpeN.model" in capsys.readouterr().err
    (tmp_path / "no.model").write_text("none")
    assert main([*arguments, "--lexicon", str(tmp_path / "no.model"), "--device", "cpu"]) == 1
    assert "no.model is no model of sentencepiece's" in capsys.readouterr().err
