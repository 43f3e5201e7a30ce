"""`summarymixing align`: words and letters where they are, and one line for a text that does not fit."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import toned as sounds
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.data.alignments import read_ctm, read_json, read_textgrid

TEXT = sounds.sentence(12, 92)
SAID = sounds.spoken(TEXT, 92)


@pytest.fixture
def align(command, toned: Path):
    """``align(*arguments)``: by the checkpoint that knows the sounds, on the CPU."""
    return lambda *arguments, **options: command("align", toned, *arguments, "--device", "cpu", **options)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip with its text beside it."""
    soundfile.write(tmp_path / "a.wav", SAID.waveform, 16_000)
    (tmp_path / "a.txt").write_text(f"{TEXT}\n")
    return tmp_path / "a.wav"


def errors(found, true) -> list[float]:
    assert [one.label for one in found] == [one.label for one in true]
    pairs = list(zip(found, true))
    return [abs(a.start - b.start) for a, b in pairs] + [abs(a.end - b.end) for a, b in pairs]


def test_words_and_letters_where_they_are(align, clip, tmp_path):
    (tmp_path / "a.json").write_text(align(clip, "--format", "json").stdout)
    tiers = read_json(tmp_path / "a.json").tiers
    assert np.median(errors(tiers["words"], SAID.words)) <= 0.02
    align(clip, "--dest", tmp_path / "out")
    assert read_textgrid(tmp_path / "out/a.TextGrid").tiers["words"] == tiers["words"]
    (tmp_path / "words.ctm").write_text(align(clip, "--format", "ctm").stdout)
    (aligned,) = read_ctm(tmp_path / "words.ctm").values()
    assert max(errors(aligned.tiers["phones"], tiers["words"])) <= 1e-3


def test_letters_in_python(toned):
    from summarymixing_fairseq import load_recogniser

    found = load_recogniser(toned).align(SAID.waveform, TEXT)
    assert found.text == TEXT and np.median(errors(found.tiers["letters"], SAID.letters)) <= 0.02


def test_a_split(align, clip, tmp_path):
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\na.wav\t{len(SAID.waveform)}\n")
    (tmp_path / "test.ltr").write_text(" ".join(TEXT.replace(" ", "|")) + " |\n")
    of_letters = align("--data", tmp_path, "--format", "ctm").stdout
    (tmp_path / "test.ltr").unlink()
    (tmp_path / "test.wrd").write_text(f"{TEXT}\n")
    assert align("--data", tmp_path, "--format", "ctm").stdout == of_letters != ""
    (tmp_path / "a.txt").write_text(TEXT)
    done = align("--data", tmp_path, "--text", tmp_path / "a.txt", check=False)
    assert "--text is of one audio file, and --data has its own texts" in done.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("BA abc", "a.wav: the dictionary lacks 'a', 'b', 'c' of the text: write it with its symbols (A B |"),
        (" \n", "a.wav: the text is empty"),
        ("ABABABABAB " * 90, "a.wav: a text of 990 symbols needs 990 frames, and there are "),
    ],
)
def test_a_text_that_does_not_fit(align, clip, text, message):
    clip.with_suffix(".txt").write_text(text)
    done = align(clip, check=False)
    assert done.returncode == 1 and message in done.stderr.splitlines()[-1]


def test_bad_clips_are_skipped_if_asked(align, clip, tmp_path):
    """One that cannot be read, a text that its dictionary lacks, and one that is too long for its clip."""
    (tmp_path / "b.wav").write_bytes(b"no audio")
    rows = ["b.wav\t16000", f"a.wav\t{len(SAID.waveform)}", "a.wav\t16000\t0", "a.wav\t16000\t100"]
    (tmp_path / "test.tsv").write_text("\n".join([str(tmp_path), *rows]) + "\n")
    (tmp_path / "test.wrd").write_text(f"A\n{TEXT}\nabc\n{'AB ' * 90}\n")
    done = align("--data", tmp_path, "--format", "ctm", "--skip-bad")
    alone = align(clip, "--text", tmp_path / "a.txt", "--format", "ctm")
    assert [line.split()[2:] for line in done.stdout.splitlines()] == [
        line.split()[2:] for line in alone.stdout.splitlines()
    ]
    assert done.stderr.count("left out: ") == 3 and "3 of 4 clips are left out" in done.stderr
    align("--data", tmp_path, "--dest", tmp_path / "out", "--skip-bad")
    assert len(list((tmp_path / "out").iterdir())) == 1
    done = align("--data", tmp_path, "--format", "ctm", check=False)
    assert done.returncode == 1 and done.stdout == ""


def test_input_that_is_not_there(align, command, clip, tmp_path, tiny_model, monkeypatch):
    model = tiny_model()
    pretrained = save(tmp_path / "pretrained.pt", configuration(model, OURS), model.state_dict())
    done = command("align", pretrained, clip, "--device", "cpu", check=False)
    assert "is pre-trained only: fine-tune it first" in done.stderr
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"no audio")))
    assert "stdin cannot be read" in align("-", "--text", tmp_path / "a.txt", check=False).stderr
    (tmp_path / "a.txt").unlink()
    assert "a.txt cannot be read: No such file" in align(clip, check=False).stderr
