"""`summarymixing decode` to every format, of folders and stdin, past clips that are broken."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import toned as sounds

from summarymixing_fairseq.data.alignments import read_ctm, read_textgrid
from summarymixing_fairseq.data.transcript_files import EXTENSIONS, FILE_NAMES

TEXTS = {"a": "BA AB A ABA", "below/b": "B AB BA"}


@pytest.fixture
def decode(command, toned: Path):
    """``decode(*arguments)``: of the checkpoint that knows the sounds, on the CPU."""
    return lambda *arguments, **options: partial(command, "decode", toned)(*arguments, "--device", "cpu", **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, one in a folder below, and a file that is no audio."""
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    for name, text in TEXTS.items():
        soundfile.write(root / f"{name}.flac", sounds.spoken(text, 90).waveform, 16_000)
    (root / "notes.txt").write_text("none")
    return root


def test_a_folder_as_text(decode, folder):
    done = decode(folder)
    assert done.stdout == "".join(f"{name}.flac\t{text}\n" for name, text in TEXTS.items())
    assert "100%" in done.stderr.replace("\r", "\n").splitlines()[-2]


@pytest.mark.parametrize("form", [*EXTENSIONS, *FILE_NAMES])
def test_files_of_a_format(decode, folder, tmp_path, form):
    results = tmp_path / "results"
    decode(folder, "--results", results, "--format", form)
    assert (results / "hypo.wrd").read_text().splitlines() == [*TEXTS.values()]
    read = {
        "srt": lambda: (results / "below/b.srt").read_text().splitlines()[2],
        "vtt": lambda: (results / "below/b.vtt").read_text().splitlines()[3],
        "json": lambda: json.loads((results / "hypo.jsonl").read_text().splitlines()[1])["text"],
        "ctm": lambda: labels(read_ctm(results / "hypo.ctm")["below/b"]),
        "textgrid": lambda: labels(read_textgrid(results / "below/b.TextGrid")),
    }
    assert read[form]() == TEXTS["below/b"]
    assert "is there already" in decode(folder, "--results", results, "--format", form, check=False).stderr


def labels(alignment) -> str:
    (tier,) = alignment.tiers.values()
    return " ".join(one.label for one in tier)


def test_stdin_with_several_texts(decode, folder, monkeypatch):
    content = io.BytesIO((folder / "a.flac").read_bytes())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=content))
    found = json.loads(decode("-", "--format", "json", "--n-best", "3").stdout)
    assert (found["name"], found["text"], len(found["hypotheses"]) > 1) == ("stdin", TEXTS["a"], True)
    times = sounds.spoken(TEXTS["a"], 90).words
    for got, true in zip(found["words"], times):
        assert abs(got["start"] - true.start) < 0.05 and abs(got["end"] - true.end) < 0.05


def test_a_wav_whose_length_ffmpeg_did_not_know(decode, folder, monkeypatch):
    """As it writes one to a pipe."""
    wav = io.BytesIO()
    soundfile.write(wav, sounds.spoken(TEXTS["a"], 90).waveform, 16_000, format="WAV")
    content = bytearray(wav.getvalue())
    content[4:8] = content[40:44] = b"\xff" * 4
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert decode("-").stdout == f"stdin\t{TEXTS['a']}\n"


def test_bad_clips_are_named_and_left_out(decode, folder, tmp_path):
    (folder / "a1.wav").write_bytes(b"no audio")
    assert "a1.wav cannot be read" in decode(folder, check=False).stderr
    (folder / "test.tsv").write_text(f"{folder}\na.flac\t1\na1.wav\t1\nbelow/b.flac\t1\n")
    samples = [soundfile.info(folder / name).frames for name in ("a.flac", "below/b.flac")]
    (folder / "test.tsv").write_text(f"{folder}\na.flac\t{samples[0]}\na1.wav\t99\nbelow/b.flac\t{samples[1]}\n")
    (folder / "test.wrd").write_text(f"{TEXTS['a']}\nA\n{TEXTS['below/b']}\n")
    done = decode("--data", folder, "--skip-bad", "--results", tmp_path / "results")
    assert "left out: " in done.stderr and "1 of 3 clips are left out" in done.stderr
    for name in ("hypo.wrd", "ref.wrd"):
        assert (tmp_path / "results" / name).read_text().splitlines() == [*TEXTS.values()]
    done = decode(folder / "a1.wav", "--skip-bad", check=False)
    assert done.stderr.splitlines()[-1] == "summarymixing decode: none of 1 clips can be read"


@pytest.mark.parametrize(
    "arguments, stdin, message",
    [
        (["-"], b"no audio", r"stdin cannot be read: "),
        (["-"], b"", r"stdin cannot be read: "),
        (["{folder}/below/.."], b"", ""),
        (["{empty}"], b"", "holds no audio (flac, wav, ogg, opus, mp3)"),
        (["{m4a}"], b"", "holds no audio (flac, wav, ogg, opus, mp3)"),
        (["{folder}", "--format", "srt"], b"", "--format srt has a file for each of 2 clips"),
        (["{folder}", "--n-best", "2"], b"", "--n-best is of use with --format json only"),
        (["{folder}", "--n-best", "0", "--format", "json"], b"", "--n-best 0: must be at least 1"),
    ],
)
def test_bad_input_is_one_line(decode, folder, tmp_path, monkeypatch, arguments, stdin, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "m4a").mkdir()
    (tmp_path / "m4a" / "b.m4a").touch()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    done = decode(
        *(one.format(folder=folder, empty=tmp_path / "empty", m4a=tmp_path / "m4a") for one in arguments), check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("summarymixing decode: ")]
    assert len(lines) == bool(message) and message in "".join(lines)
    assert ("passed over by ending: 1 file: m4a" in done.stderr) is ("{m4a}" in arguments)
