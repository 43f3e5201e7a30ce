"""A full disk: one line with the path, status 1, earlier files unchanged, no partial file."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pipeline import Trained
from processes import Started, hidden_files, script

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import write_together


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let no file of this process grow larger for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python would keep compiled modules that are cut off at the limit, and fail by them from then on
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_features(command, trained: Trained, tmp_path: Path, format: str):
    """Clips that were written before the disk was full stay, and so do files that could not be replaced."""
    arguments = ["features", trained.pretrained, "--data", trained.data, "--split", "train", "--dest", tmp_path]
    arguments += ["--device", "cpu", "--batch-seconds", "1", "--format", format, "--force"]
    rows = (trained.data / "train.tsv").read_text().splitlines()[1:]
    arrays = [tmp_path / f"{Path(row.split(chr(9))[0]).stem}.npy" for row in rows]
    outputs = arrays if format == "npy" else [tmp_path / "train.safetensors"]
    for output in outputs:
        output.write_bytes(b"precious")
    with largest_file(8000):
        done = command(*arguments, check=False)
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("summarymixing"))
    assert f"{tmp_path}/" in line and line.endswith(" cannot be written: File too large")
    assert not hidden_files(tmp_path)
    contents = [output.read_bytes() for output in outputs]
    further = {path.name for path in tmp_path.iterdir()} - {output.name for output in outputs}
    assert b"precious" in contents and further <= {"train.features.part.json", "train.features.part"}
    for output, content in zip(outputs, contents):
        if content != b"precious":
            assert np.load(output).shape[1] == 32


def test_average(command, trained: Trained, tmp_path: Path):
    for name in ("a.pt", "b.pt"):
        shutil.copy(trained.pretrained, tmp_path / name)
    with largest_file(8000):
        done = command("average", tmp_path / "a.pt", tmp_path / "b.pt", "--dest", tmp_path / "mean.pt", check=False)
    assert done.returncode == 1 and done.stderr.endswith("mean.pt cannot be written: File too large\n")
    assert not (tmp_path / "mean.pt").exists() and not hidden_files(tmp_path)


def test_report(tmp_path: Path, capsys):
    rows = "".join(f"gone{number}.flac\t5\n" for number in range(300))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{rows}")
    report = tmp_path / "report"
    report.write_text("precious")
    with largest_file(4096):
        status = main(["check-manifest", str(tmp_path), "--workers", "1", "--report", str(report), "--force"])
    assert status == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("report cannot be written: File too large")
    assert report.read_text() == "precious" and not hidden_files(tmp_path)


@pytest.mark.parametrize("kind", ["layers", "mp3s", "benchmark"])
def test_plots(tmp_path: Path, kind: str):
    pytest.importorskip("matplotlib")
    from summarymixing_fairseq.benchmarks import report
    from summarymixing_fairseq.probing.mp3s.layers import Column
    from summarymixing_fairseq.probing.mp3s.plots import plot_layers, plot_table

    path = tmp_path / "plot.png"
    path.write_text("precious")
    row = {"contender": "a", "size": 1, "seconds": [1.0], "peak_bytes": 1, "failed": None}
    machine = dict.fromkeys(("hardware", "system", "python", "torch", "fairseq"), "m")
    result = {"benchmark": "cell", "machine": machine, "rows": [row], "size_unit": "frames"}
    result |= {"settings": {}, "date": "2026-01-01", "command": "c"}
    cell = {"value": 1.0, "low": None, "high": None}
    figure = {"metric": "wer", "metric_title": "WER", "title": "t", "probe": 1, "higher_is_better": False}
    table = {
        "encoders": [{"name": "a", "title": "a", "random": False}],
        "rows": [{**figure, "cells": {"a": cell}}],
    }
    plot = {
        "layers": lambda: plot_layers([Column("a", "task", "probe 1", (0.5, 0.5))], path),
        "mp3s": lambda: plot_table(table, path),
        "benchmark": lambda: report.plot(result, path),
    }[kind]
    plot()  # the first plot writes matplotlib's list of fonts
    path.write_text("precious")
    with largest_file(4096), pytest.raises(InputError, match=r"plot\.png cannot be written: File too large"):
        plot()
    assert path.read_text() == "precious" and not hidden_files(tmp_path)


def test_results_that_belong_together(tmp_path: Path):
    old = {tmp_path / name: "old\n" for name in ("hypo.wrd", "ref.wrd", "scores.json")}
    write_together(old)
    sizes = (10, 10, 10_000), (10, 10_000, 10), (10_000, 10, 10)
    for new in sizes:
        with largest_file(4096), pytest.raises(InputError, match=r"cannot be written: File too large"):
            write_together({path: "new\n" * size for path, size in zip(old, new)})
        assert {path: path.read_text() for path in tmp_path.iterdir()} == old


def test_results_on_a_full_file_system(command, trained: Trained, small_disk):
    disk = small_disk(64 * 1024)
    results = disk / "results"
    results.mkdir()
    for name in ("hypo.wrd", "ref.wrd", "scores.json"):
        (results / name).write_text("precious\n")
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize))
    arguments = ["decode", trained.fine_tuned, "--data", trained.data, "--split", "valid", "--device", "cpu"]
    done = command(*arguments, "--results", results, "--force", check=False)
    assert done.returncode == 1 and done.stderr.endswith(" cannot be written: No space left on device\n")
    assert str(results) in done.stderr.splitlines()[-1]
    assert {path.name: path.read_text() for path in results.iterdir()} == dict.fromkeys(
        ("hypo.wrd", "ref.wrd", "scores.json"), "precious\n"
    )


def test_pages_of_the_examples(tmp_path: Path, monkeypatch, capsys):
    """A script's page: of a template that says nothing, as counting takes ten seconds."""
    import scaling

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "scaling.json").write_text("{}")
    (tmp_path / "SCALING.template.md").write_text("nothing\n" * 1000)
    (tmp_path / "SCALING.md").write_text("precious\n")
    monkeypatch.setattr(scaling, "HERE", tmp_path)
    monkeypatch.setattr(scaling, "NAMES", ())
    for name in ("counted", "timed", "predicted", "by_clip_length"):
        monkeypatch.setattr(scaling, name, lambda _: {})
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--from-json", "--output", str(tmp_path / "SCALING.md")])
    with largest_file(4096):
        assert scaling.main() == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'SCALING.md'} cannot be written: File too large\n"
    assert (tmp_path / "SCALING.md").read_text() == "precious\n" and not hidden_files(tmp_path)


def test_quickstart_stops_at_the_stage_that_fails(tmp_path: Path):
    command = script("examples/quickstart/run.py", "--dest", tmp_path, "--source", "synthesiser")
    ended = Started(command, file_size_limit=16_384).end()
    assert ended.status == 1 and "Traceback" not in ended.errors
    first, second = ended.lines()
    assert first.endswith(".flac cannot be written: File too large")
    assert second == "error: corpus failed with status 1"
    assert not hidden_files(tmp_path) and not list(tmp_path.glob("*.done.json"))
