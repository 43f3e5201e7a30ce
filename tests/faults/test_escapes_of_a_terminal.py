"""Nothing that a file holds steers the terminal it is printed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from summarymixing_fairseq.commands.decode import _report
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.alignments import Interval
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.transcript_files import EXTENSIONS, FILE_NAMES, files_of
from summarymixing_fairseq.data.transcripts import Hypothesis, Transcript
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Results, as_json
from summarymixing_fairseq.system.errors import printable

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


def steers(text: str) -> bool:
    return any(char in text for char in "\x1b\x07\x9b\u202e\x85\u2028\x00\x7f")


def test_names_of_a_results_file(capsys, tmp_path):
    results = Results(
        task=f"probe_{ESCAPE}",
        head=f"linear{ESCAPE}",
        encoder=EncoderSource(f"ours{ESCAPE}", ESCAPE, ESCAPE, "aa"),
        checkpoint="/runs/x/checkpoint.pt",
        config={},
        data=EvaluationData("/data", "test", {}),
        seed=1,
        metrics={},
        layer_weights=[0.4, 0.6],
        versions={},
    )
    path = tmp_path / "results.json"
    path.write_text(as_json(results))
    assert main(["layers", str(path)]) == 0
    out = capsys.readouterr().out
    assert not steers(out) and "ours\\x1b]0;owned\\x07" in out
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "seed": ESCAPE, ESCAPE: 1, "schema_version": ESCAPE}))
    assert main(["layers", str(path)]) == 1
    assert not steers(capsys.readouterr().err)


def test_names_of_clips_that_are_checked(tmp_path, capsys):
    """Names may hold any bytes, and be no UTF-8."""
    name = os.fsencode(ESCAPE) + b"\xff.wav"
    (tmp_path / "train.tsv").write_bytes(os.fsencode(tmp_path) + b"\n" + name + b"\t5\n" + name + b"\t5\n")
    assert main(["check-manifest", str(tmp_path), "--report", str(tmp_path / "report"), "--workers", "1"]) == 1
    captured = capsys.readouterr()
    report = (tmp_path / "report").read_text()
    for text in (captured.out, captured.err, report):
        assert not steers(text) and "\udcff" not in text
    assert "\\udcff.wav" in captured.out and report.count("\\udcff.wav") == 3
    assert all(line.count("\t") == 2 for line in report.splitlines())


def test_what_stdout_cannot_hold(tmp_path):
    """A path that is no UTF-8, and an encoding that lacks a letter."""
    shown = "from summarymixing_fairseq.system.command import as_script; as_script(lambda: print({!r}))"
    for encoding, text, expected in (("utf-8", "a\udcff", b"a\\udcff\n"), ("ascii", "\u2193", b"\\u2193\n")):
        command = [sys.executable, "-c", shown.format(text)]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        assert subprocess.run(command, capture_output=True, env=environment).stdout == expected


def test_texts_of_a_models_symbols(tmp_path, capsys):
    """Written one line a clip, whatever the symbols are."""
    clips = [Clip(Path("a.wav"), f"a{ESCAPE}.wav")] * 2
    words = [Interval(text, 0.0, 1.0, 0.5) for text in (f"{ESCAPE}\n\tx", "b")]
    transcripts = [Transcript((Hypothesis((word,), 0.0),), 1.0) for word in words]
    for results in (tmp_path, None):
        arguments = Namespace(results=results, checkpoint="a.pt", precision="float32")
        _report(arguments, clips, transcripts, [], 0.5, None, {})
        text = (tmp_path / "hypo.wrd").read_text() if results else capsys.readouterr().out
        assert not steers(text) and text.splitlines()[-1].endswith("b") and len(text.splitlines()) == 2
        capsys.readouterr()
    for form in (*EXTENSIONS, *FILE_NAMES):
        for text in files_of(form, {"a": transcripts[0]}).values():
            assert not steers(text), form


@pytest.mark.parametrize("text", ["a\tb\n", "\x1b[0m", "\x7f\x85\u2028", "\u202eabc"])
def test_what_is_printed_stays_in_its_line(text):
    assert not steers(printable(text)) and len(printable(text).splitlines()) == 1
    assert printable("caf\u00e9 \u0928\u200d") == "caf\u00e9 \u0928\u200d"
