"""References guessed though the checkpoint knows: by its ``task.labels``, phones and pieces named as such."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from encoder_checkpoints import letters, save_recogniser

from summarymixing_fairseq.checkpoints.fine_tuned import FineTuned
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.references import read_references, symbols_of
from summarymixing_fairseq.probing.evaluation import evaluate_recognition
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def data(tmp_path, speech):
    """Two clips, their words, letters, phones and pieces."""
    for number in (0, 1):
        soundfile.write(tmp_path / f"{number}.wav", speech[number], 16_000)
    rows = "".join(f"{number}.wav\t{len(speech[number])}\n" for number in (0, 1))
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\n{rows}")
    (tmp_path / "test.wrd").write_text("A\nA B\n")
    (tmp_path / "test.ltr").write_text("A |\nA | B |\n")
    (tmp_path / "test.phn").write_text("ey\ney b iy\n")
    (tmp_path / "test.bpe4").write_text("▁ A\n▁A ▁B\n")
    return tmp_path


def decode(data, model, symbols, heard, labels, scheme="letter", **task):
    task, criterion = {"labels": labels, **task}, {"post_process": scheme}
    checkpoint = save_recogniser(data / "tuned.pt", model, symbols, heard, task, criterion)
    results = data / "results"
    assert main(["decode", str(checkpoint), "--data", str(data), "--results", str(results), "--device", "cpu"]) == 0
    return json.loads((results / "scores.json").read_text()), (results / "hypo.wrd").read_text()


def test_phones_against_phones(data, tiny_model, capsys):
    scores, text = decode(data, tiny_model(), ["ey", "b", "iy", "|"], "ey", "phn")
    assert text == "ey\ney\n" and (data / "results/ref.wrd").read_text() == "ey\ney b iy\n"
    assert (scores["phone_error_rate"], scores["phone_error_rate_errors"]) == (0.5, 2) and "wer" not in scores
    assert "phone error rate 50.00 % (2 of 4 phones)" in capsys.readouterr().out


def test_no_reference_of_a_kind_is_said(data, tiny_model, capsys):
    (data / "test.phn").unlink()
    scores, _ = decode(data, tiny_model(), ["ey", "b", "iy"], "ey", "phn")
    assert not any("rate" in name and name != "real_time_factor" for name in scores)
    assert "no error rate, as there are no references: " in capsys.readouterr().err


@pytest.mark.parametrize("without", [(), ("wrd",), ("wrd", "bpe4")])
def test_pieces_that_spell_words(data, tiny_model, without):
    for extension in without:
        (data / f"test.{extension}").unlink()
    scores, text = decode(data, tiny_model(), ["▁A", "▁B", "▁", "A"], "▁A", "bpe4", "sentencepiece")
    assert text == "A\nA\n" and (scores["wer_errors"], scores["wer_total"]) == (1, 3)


def test_pieces_whose_words_are_not_marked(data, tiny_model, capsys):
    """As ``criterion.post_process`` is left at fairseq's ``letter``."""
    scores, _ = decode(data, tiny_model(), ["▁A", "▁B", "▁", "A"], "▁A", "bpe4")
    assert (scores["piece_error_rate_errors"], scores["piece_error_rate_total"]) == (3, 4)


@pytest.mark.parametrize(
    "labels, scheme, symbols, unit",
    [
        ("ltr", "letter", "AB|", "word"),
        ("ltr", "letter", "字", "letter"),
        ("wrd", "none", ["ONE"], "word"),
        ("phn", "letter", "ab|", "phone"),
        ("tones", "silence", ["1", "<SIL>"], "tones"),
        ("bpe9", "subword_nmt", ["a@@", "b"], "word"),
    ],
)
def test_what_symbols_stand_for(labels, scheme, symbols, unit):
    assert symbols_of({"labels": labels}, {"post_process": scheme}, letters(symbols).symbols).unit == unit


def test_a_checkpoint_does_not_name_other_files():
    with pytest.raises(InputError, match=r"task\.labels='/../etc/passwd' is no extension"):
        symbols_of({"labels": "/../etc/passwd"}, {}, [])
    with pytest.raises(InputError, match=r"criterion\.post_process=\['letter'\] is not one of letter, "):
        symbols_of({}, {"post_process": ["letter"]}, [])


def test_probes_of_phones(data):
    dictionary = letters(["ey", "b", "iy"])
    frames = np.eye(len(dictionary))[[dictionary.index("ey")]]
    probe = SimpleNamespace(config={"task": {"labels": "phn"}}, dictionary=dictionary, path="probe.pt")
    evaluation = SimpleNamespace(
        **{"probe": probe, "data": data, "split": "test", "names": "xy", "num_replicates": 9, "seed": 0},
        outputs=lambda name: [frames, frames],
        results=lambda metrics, counts: (metrics, counts),
    )
    (metrics, counts), files = evaluate_recognition(evaluation)
    assert metrics.keys() == {"phone_error_rate"} and metrics["phone_error_rate"].value == 50
    assert counts == {"phones": 4} and files["ref.wrd"] == "ey\ney b iy\n"
    (data / "test.phn").unlink()
    with pytest.raises(InputError, match=r"labels .*test\.phn cannot be read"):
        evaluate_recognition(evaluation)
    assert read_references(data, "test", 2, symbols_of({"labels": "phn"}, {}, [])) is None


@pytest.mark.parametrize("normalize", [False, True])
def test_waveforms_as_in_training(data, tiny_model, speech, monkeypatch, normalize):
    heard, forward = [], FineTuned.forward
    monkeypatch.setattr(FineTuned, "forward", lambda self, *batch: heard.append(batch) or forward(self, *batch))
    decode(data, tiny_model(), "A|", "A", "ltr", normalize=normalize)
    for source, padding in zip(*heard[0]):
        assert (abs(source[~padding].std() - 1) < 0.01) == normalize
