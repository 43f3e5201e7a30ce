"""The plot of all metrics: it says what the table's note says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline import ROOT

pytest.importorskip("matplotlib")
from summarymixing_fairseq.probing.mp3s import plots


def test_the_plot_of_the_miniature_says_that_its_speech_is_synthetic(monkeypatch):
    table = json.loads((ROOT / "examples" / "mp3s" / "results" / "mp3s.json").read_text(encoding="utf-8"))
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    plots.plot_table(table, Path("mp3s.png"))
    plots.plot_table({**table, "note": ""}, Path("mp3s.png"))
    titles = [figure.legends[0].get_title().get_text() for figure in figures]
    assert "on synthetic speech" in titles[0] and titles[1] == ""
