"""What commands write on degenerate input: any strict reader of JSON takes it, null for what is not defined."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from summarymixing_fairseq.commands.decode import _report
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.transcribing import Transcripts


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
    transcripts = Transcripts(hypotheses, [], float(len(hypotheses)), 0.5)
    _report(Namespace(results=tmp_path, checkpoint="a.pt", precision="float32"), clips, transcripts, references, "word")
    scores = strict(tmp_path / "scores.json")
    assert scores["wer"] == wer and summary in capsys.readouterr().out
