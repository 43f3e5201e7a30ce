"""Numbers read from logs of fairseq's, and their plots."""

from __future__ import annotations

import json

import pytest

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.training import curves
from summarymixing_fairseq.training.curves import plot_curves, read_runs
from summarymixing_fairseq.training.log_file import read_log, series


def line(tag: str, **values) -> str:
    return f"[2026-11-26 14:01:42,109][{tag}][INFO] - {json.dumps({'epoch': 1, **values})}\n"


def trained(update: int, **values) -> str:
    return line("train_inner", num_updates=str(update), **values)


def validated(update: int, name: str = "valid", **values) -> str:
    figures = {f"{name}_{key}": value for key, value in values.items()}
    return line(name, **{f"{name}_num_updates": str(update)}, **figures)


LOG = (
    "[fairseq_cli.train][INFO] - {'_name': None, 'common': {'num_updates': 3}}\n"
    + validated(0, "dev", rank_latents="30.5", phones_latents="0.45")
    + trained(1, loss="5", accuracy="0.1")
    + trained(2, loss="4", accuracy="0.2")
    + validated(2, "dev", loss="4.5", rank_latents="29", rank_layer1="20", phones_latents="0.5", phones_layer1="0.3")
    + validated(2, "other", loss="9")
    + line("train", train_num_updates="2", train_loss="4.4")
    # no numbers
    + trained(2, loss=None, accuracy="abc")
    + line("train_inner", num_updates=None, loss="1")
    # killed in the middle of a line, and taken up from update 1
    + '[train_inner][INFO] - {"epoch": 1, "num_upd\n'
    + trained(2, loss="4.1", accuracy="0.2")
    + f"2026-11-26 14:01:42 | INFO | train_inner | {json.dumps({'epoch': 2, 'num_updates': '3', 'loss': '3'})}\n"
)


def test_what_is_read_of_a_log(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(LOG)
    records = read_log(path)
    assert [record["num_updates"] for record in records] == [0, 1, 2, 2, 3]
    assert series(records, "loss") == ([1, 2, 3], [5, 4.1, 3])
    assert series(records, "valid_loss") == ([2], [4.5])
    assert series(records, "valid_rank_latents") == ([0, 2], [30.5, 29])
    assert series(records, "train_loss") == ([], [])


def test_panels_are_of_what_was_logged(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    logs = [tmp_path / name for name in ("one.log", "two.log")]
    for log in logs:
        log.write_text(LOG)
    plot_curves(read_runs(logs[:1]), tmp_path / "curves.png")
    plot_curves(read_runs(logs), tmp_path / "curves.png")
    for figure, lines in zip(
        figures, (["latents", "layer1"], ["one, latents", "one, layer1", "two, latents", "two, layer1"])
    ):
        by_title = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
        assert list(by_title) == ["loss (bits)", "accuracy", "phone accuracy (ridge regression)", "effective rank"]
        phones = by_title["phone accuracy (ridge regression)"].lines
        assert [drawn.get_label() for drawn in phones] == lines
        assert phones[0].get_xydata().tolist() == [[0, 0.45], [2, 0.5]]


def test_the_command(tmp_path, capsys):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "train.log").write_text(LOG)
    logs, plot = [str(folder / "train.log") for folder in folders], tmp_path / "out" / "curves.png"
    assert main(["curves", *logs, "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG") and capsys.readouterr().out == f"{plot}: {', '.join(logs)}\n"
    assert main(["curves", logs[0], "--plot", str(plot)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["curves", logs[0], "--plot", str(plot), "--force"]) == 0
    assert main(["curves", logs[0], "--plot", str(plot.with_suffix(".pdf"))]) == 0
    assert plot.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(SystemExit):
        main(["curves", logs[0], "--plot", str(plot.with_suffix(".doc"))])
    assert "curves.doc: must end in .png, .pdf, .svg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        (["empty.log"], "has no numbers of a training in it: give log.jsonl of its folder"),
        (["train.log", "train.log"], "is named twice"),
        (["."], "cannot be read: Is a directory"),
        (["speed.log"], "nothing to plot, neither loss nor accuracy"),
    ],
)
def test_what_cannot_be_plotted(logs, message, tmp_path, capsys):
    (tmp_path / "train.log").write_text(LOG)
    (tmp_path / "empty.log").write_text("Traceback (most recent call last):\n")
    (tmp_path / "speed.log").write_text(trained(1, wps="1"))
    given = [str(tmp_path / log) for log in logs]
    assert main(["curves", *given, "--plot", str(tmp_path / "curves.png")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and message in errors[0] and not (tmp_path / "curves.png").exists()
