"""Nothing that a file holds steers the terminal it is printed on."""

from __future__ import annotations

import json

import pytest

from summarymixing_fairseq.commands.main import main
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


@pytest.mark.parametrize("text", ["a\tb\n", "\x1b[0m", "\x7f\x85\u2028", "\u202eabc"])
def test_what_is_printed_stays_in_its_line(text):
    assert not steers(printable(text)) and len(printable(text).splitlines()) == 1
    assert printable("caf\u00e9 \u0928\u200d") == "caf\u00e9 \u0928\u200d"
