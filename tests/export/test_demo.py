"""`make export-demo`: a row for each format, measured on what was read back."""

from __future__ import annotations

import re
import runpy
import sys

from pipeline import ROOT

from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats import FORMATS


def test_a_row_for_each_format(toned, labelled, tmp_path, monkeypatch, capsys):
    class Texts(FORMATS["safetensors"]):  # a format that gives text, one of which is another
        def files(self):
            return [self.destination / "model"]

        def write(self):
            self.destination.mkdir()
            self.files()[0].write_bytes(bytes(2_000_000))

        def usage(self):
            return ""

        def check(self):
            return "checked"

        def outputs(self):
            return lambda waveforms: ["AB" for _ in waveforms]

    class Absent(Texts):
        packages = ("no_such_package",)

    for name in set(FORMATS) - {"safetensors"}:
        monkeypatch.delitem(FORMATS, name)
    monkeypatch.setitem(FORMATS, "texts", Texts)
    monkeypatch.setitem(FORMATS, "absent", Absent)
    monkeypatch.setattr(check, "LONG", 12.0)
    demo = runpy.run_path(str(ROOT / "examples" / "export" / "run.py"))
    arguments = ["run.py", "--checkpoint", str(toned), "--clips", str(labelled), "--dest", str(tmp_path / "demo")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert demo["main"]() == 0, capsys.readouterr().err
    said, table = capsys.readouterr().out, (tmp_path / "demo" / "export.md").read_text()
    assert "absent: left out, as no_such_package is missing" in said and table in said
    assert re.search(r"\| safetensors \| [\d.]+ \| 0.0e\+00 \| [\d.]+ \| [\d.]+ % \|\n", table)
    assert re.search(r"\| texts \| 2.0 \| - \(3 of 3 texts are others\) \| [\d.]+ \| [\d.]+ % \|\n", table)


def test_a_checkpoint_that_is_not_there(tmp_path, monkeypatch, capsys):
    demo = runpy.run_path(str(ROOT / "examples" / "export" / "run.py"))
    monkeypatch.setattr(sys, "argv", ["run.py", "--checkpoint", str(tmp_path / "c.pt"), "--dest", str(tmp_path)])
    assert demo["main"]() == 1
    assert "make quickstart makes it" in capsys.readouterr().err
