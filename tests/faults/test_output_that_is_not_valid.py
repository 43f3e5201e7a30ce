"""What commands write on degenerate input: any strict reader of JSON takes it, null for what is not defined."""

from __future__ import annotations

import csv
import io
import json
import os
from argparse import Namespace
from pathlib import Path

import pytest

from summarymixing_fairseq.commands.decode import _report
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.alignments import Interval
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.transcripts import Hypothesis, Transcript
from summarymixing_fairseq.system.tables import markdown_table, tsv_rows

# what a file's name may hold
NAMES = [
    "tab\there",
    "line\nbreak",
    "return\rhere",
    "\x1b]0;owned\x07",
    "next\x85line",
    "a | b",
    "\udcff",
    "\u2028",
    "",
]


def strict(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.mark.parametrize(
    "references, hypotheses, wer, summary",
    [
        ([""], [""], None, "WER undefined (0 of 0 words)"),
        ([""], ["a b"], None, "WER undefined (2 of 0 words)"),
        (["a b"], [""], 1.0, "WER 100.00 % (2 of 2 words)"),
        ([], [], None, "WER undefined (0 of 0 words)"),
    ],
)
def test_scores_without_words(tmp_path, capsys, references, hypotheses, wer, summary):
    clips = [Clip(Path("a.wav"), "a.wav")] * len(hypotheses)
    words = [tuple(Interval(word, 0.0, 1.0, 0.5) for word in text.split()) for text in hypotheses]
    transcripts = [Transcript((Hypothesis(these, 0.0),), 1.0) for these in words]
    _report(
        Namespace(results=tmp_path, checkpoint="a.pt", precision="float32"), clips, transcripts, [], 0.5, references, {}
    )
    scores = strict(tmp_path / "scores.json")
    assert scores["wer"] == wer and summary in capsys.readouterr().out


def test_cells_stay_cells_and_rows_rows():
    rows = [[name, 1.5, other] for name, other in zip(NAMES, reversed(NAMES))]
    text = tsv_rows(rows)
    text.encode("utf-8")
    assert len(text.splitlines()) == len(rows)
    read = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [len(row) for row in read] == [3] * len(rows) and read[0][0] == "tab\\there"


@pytest.mark.parametrize("pad", [False, True])
def test_cells_of_markdown(pad):
    text = markdown_table(["name", "value"], [[name, "1"] for name in NAMES], pad)
    text.encode("utf-8")
    lines = text.splitlines()
    assert len(lines) == len(NAMES) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}


def test_report_of_a_manifest(tmp_path, capsys):
    """Rows whose names hold anything but tabs and ends of lines, which rows cannot."""
    names = [b"none\x1b[2J.wav", b"byte\xff.wav", b"bar|.wav", b"return\r.wav"]
    (tmp_path / "train.tsv").write_bytes(b"%s\n" % os.fsencode(tmp_path) + b"".join(b"%s\t16000\n" % n for n in names))
    assert main(["check-manifest", str(tmp_path), "--report", str(tmp_path / "report.txt"), "--workers", "1"]) == 1
    lines = (tmp_path / "report.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(names) and {line.count("\t") for line in lines} == {2}
    assert "\x1b" not in capsys.readouterr().out
