"""`summarymixing analyse` end to end on tiny checkpoints, and one line for what it cannot use."""

from __future__ import annotations

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from encoder_checkpoints import OURS, configuration, save, stock_model
from processes import hidden_files
from timed_clips import RATE_HZ, TimedClips, make_timed_clips

from summarymixing_fairseq.analysis import report, run
from summarymixing_fairseq.analysis.observations import MEASURES
from summarymixing_fairseq.analysis.run import STATES
from summarymixing_fairseq.commands.analyse import add_parser
from summarymixing_fairseq.data.alignments import Alignment, as_json, read_json

QUICK = "rank,layers,branches"


@pytest.fixture
def analyse(command, request, monkeypatch):
    """`summarymixing analyse` in this process; plots, which take a second each, are drawn end to end alone."""
    if "end_to_end" not in request.node.name:
        monkeypatch.setattr(report, "save_figure", lambda figure, path: None)
    return partial(command, "analyse")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TimedClips:
    return make_timed_clips(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def checkpoints(tiny_model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("checkpoints")
    stride = "[(12, 10, 5)] + [(12, 3, 2)] * 4 + [(12,2,2)]"  # 100 frames a second
    models = {
        OURS: tiny_model(),
        "hubert": stock_model("hubert"),
        "fast": stock_model("wav2vec2", conv_feature_layers=stride),
    }
    kinds = {"fast": "wav2vec2"}
    return {
        name: save(folder / f"{name}.pt", configuration(model, kinds.get(name, name)), model.state_dict())
        for name, model in models.items()
    }


@pytest.fixture
def small(corpus: TimedClips, tmp_path: Path) -> Path:
    """A folder of its own with the first three clips, to spoil."""
    folder = tmp_path / "small"
    (folder / "labels").mkdir(parents=True)
    rows = (corpus.folder / "test.tsv").read_text().splitlines()[1:4]
    for row in rows:
        stem = row.split("\t")[0].removesuffix(".wav")
        shutil.copy(corpus.folder / f"{stem}.wav", folder)
        shutil.copy(corpus.folder / "labels" / f"{stem}.json", folder / "labels")
    (folder / "test.tsv").write_text("\n".join([str(folder), *rows]) + "\n")
    return folder


def content_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def numbers(content: dict) -> list:
    return [{key: row[key] for key in row if key != "encoder"} for row in content["rows"]]


def test_end_to_end(analyse, checkpoints, corpus: TimedClips, tmp_path: Path) -> None:
    out = tmp_path / "out"
    measures = "branches,layers,phones,rank"
    labels = corpus.folder / "labels"
    done = analyse(f"a={checkpoints[OURS]}", "--random", "--data", corpus.folder, "--labels", labels, "--results", out,
                   "--measures", measures, "--places", "latents,1,2")  # fmt: skip
    seconds = sum(content_of(out)["seconds"].values())
    assert done.stdout == f"2 encoders, measures took {seconds:.0f} s in all: {out / 'analysis.md'}\n"
    plots = {f"{name}.png" for name in measures.split(",") if name != "layers"}
    plots |= {"layers-a.png", "layers-a-random.png", "layers-a,a-random.png"}
    assert {path.name for path in out.iterdir()} == {"results.json", "analysis.md", *plots}
    for plot in plots:
        assert (out / plot).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (out / "analysis.md").read_text()
    assert set(re.findall(r"\]\((.*?)\)", page)) == plots and "nan" not in page
    content = content_of(out)
    assert content["about"]["clips"] == 12 and not content["skipped"]
    assert {(row["encoder"], row["measure"]) for row in content["rows"]} == {
        (encoder, name) for encoder in ("a", "a-random") for name in measures.split(",")
    }
    pairs = [row for row in content["rows"] if row.get("other_encoder")]
    assert [(row["encoder"], row["other_encoder"], row["place"], row["other"]) for row in pairs] == [
        ("a", "a-random", place, other) for place in "12" for other in "12"
    ]
    # every table has as many cells in each row, and a value in every measure's first one
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_run_that_was_killed_goes_on(analyse, checkpoints, small: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    arguments = [checkpoints[OURS], "--random", "--data", small, "--places", "1", "--results", out, "--measures", QUICK]
    counts: dict[str, int] = {}

    def counted(name: str, fail_at: int):
        measure = MEASURES[name]

        def count(observed, places):
            key = f"{observed.name}: {name}"
            counts[key] = counts.get(key, 0) + 1
            rows = measure.run(observed, places)
            yield next(rows)
            if sum(counts.values()) == fail_at:
                raise KeyboardInterrupt
            yield from rows

        return run.Measure(name, measure.help, measure.needs, count, True)

    computed = []
    keep = run.keep_states
    monkeypatch.setattr(run, "keep_states", lambda *args: computed.append(1) or keep(*args))
    with monkeypatch.context() as patched:
        for name in QUICK.split(","):
            patched.setitem(run.MEASURES, name, counted(name, 5))
        assert analyse(*arguments, check=False).returncode == 130
        killed = content_of(out)
        assert len(killed["seconds"]) == 4 and not (out / STATES).exists() and not (out / "analysis.md").exists()
    with monkeypatch.context() as patched:
        for name in QUICK.split(","):
            patched.setitem(run.MEASURES, name, counted(name, 0))
        analyse(*arguments)
    name = OURS
    assert counts == {
        **{f"{name}: {measure}": 1 for measure in QUICK.split(",")},
        **{f"{name}-random: rank": 1, f"{name}-random: layers": 2, f"{name}-random: branches": 1},
    }
    assert not (out / STATES).exists() and not hidden_files(out) and (out / "analysis.md").exists()
    whole = tmp_path / "whole"
    analyse(*arguments[:-4], "--results", whole, "--measures", QUICK)
    key = lambda row: json.dumps(row, sort_keys=True)  # noqa: E731
    assert sorted(content_of(whole)["rows"], key=key) == sorted(content_of(out)["rows"], key=key)
    # what is there is not measured again, and no encoder is run
    num_computed = len(computed)
    analyse(*arguments)
    assert len(computed) == num_computed
    assert content_of(out)["rows"] == json.loads((out / "results.json").read_text())["rows"]


def test_results_of_another_run_are_refused(analyse, checkpoints, corpus: TimedClips, small: Path, tmp_path) -> None:
    out = tmp_path / "out"
    data = ["--data", small, "--labels", small / "labels", "--measures", "rank", "--results", out]
    analyse(checkpoints[OURS], *data)
    before = (out / "results.json").read_bytes()
    wave, _ = soundfile.read(small / "anna_0.wav", dtype="float32")
    other = tmp_path / "louder"
    shutil.copytree(small, other)
    (other / "test.tsv").write_text((small / "test.tsv").read_text().replace(str(small), str(other)))
    soundfile.write(other / "anna_0.wav", wave / 2, RATE_HZ, "FLOAT")  # same names and lengths
    for what, *arguments in (
        ("encoders", checkpoints["hubert"], *data),
        ("encoders", checkpoints[OURS], *data, "--random"),
        ("encoders", checkpoints[OURS], *data, "--precision", "bfloat16"),
        ("places", checkpoints[OURS], *data, "--places", "1"),
        ("seed", checkpoints[OURS], *data, "--seed", 2),
        ("audio or labels", checkpoints[OURS], "--data", small, *data[4:]),
        ("audio or labels", checkpoints[OURS], "--data", other, *data[2:]),
        ("audio or labels", checkpoints[OURS], *data, "--hours", 0.0001),
    ):
        done = analyse(*arguments, check=False)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and line.endswith(f"with other {what}: choose another --results"), line
    assert (out / "results.json").read_bytes() == before
    for broken in (b"{", b"[]", b"\xff", b'{"about": 1, "seconds": {}, "skipped": {}, "rows": []}'):
        (out / "results.json").write_bytes(broken)
        done = analyse(checkpoints[OURS], *data, check=False)
        assert done.returncode == 1 and "is no result of this command" in done.stderr.splitlines()[-1]


def broken_checkpoint(checkpoints, path: Path) -> Path:
    state = torch.load(checkpoints[OURS], weights_only=True)
    for name, weight in state["model"].items():
        if "encoder.layers.1." in name and "norm" in name:
            weight.fill_(3e38)
    torch.save(state, path)
    return path


REFUSED = {
    "measure 'rang' is unknown: choose of abx, ": ["--measures", "rang"],
    "measure '' is unknown": ["--measures", "rank,"],
    "measure '' is unknown: choose": ["--measures", ""],
    "has no place '9': choose of mel, latents, input, 1, 2, 1.ffn1": ["--places", "9"],
    "has no place '': choose": ["--places", "1,,2"],
    "--hours 0.0: must be positive": ["--hours", "0"],
    "--hours nan: must be positive": ["--hours", "nan"],
    "--batch-seconds nan: must be a positive": ["--batch-seconds", "nan"],
    "--batch-seconds 0.0: must be a positive": ["--batch-seconds", "0"],
    "--seed -1: must be 0 to": ["--seed", "-1"],
    "none.tsv cannot be read": ["--split", "none"],
    "gone: neither a folder nor a .ctm file": ["--labels", "{small}/gone"],
    "has no labels of anna_0.wav": ["--labels", "{small}/without"],
    "labels of anna_0.wav in": ["--labels", "{small}/short"],
    "gone cannot be read: No such file": ["--speakers", "{small}/gone"],
    "line 2: not clip, tab, speaker": ["--speakers", "{small}/broken.tsv"],
    "line 3: anna_0 has another speaker before": ["--speakers", "{small}/twice.tsv"],
    "fewer.tsv has no speaker of ben_0": ["--speakers", "{small}/fewer.tsv"],
    "anna_0.wav is not UTF-8 text": ["--speakers", "{small}/anna_0.wav"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(analyse, checkpoints, small: Path, tmp_path: Path, message: str) -> None:
    shutil.copytree(small / "labels", small / "without")
    (small / "without" / "anna_0.json").unlink()
    shutil.copytree(small / "labels", small / "short")
    one = read_json(small / "labels" / "anna_0.json")
    tiers = {name: these[:1] for name, these in one.tiers.items()}
    (small / "short" / "anna_0.json").write_text(as_json(Alignment(tiers, one.seconds / 2)))
    (small / "broken.tsv").write_text("anna_0\tx\nben_0 y\n")
    (small / "twice.tsv").write_text("anna_0\tx\nben_0\ty\nanna_0\tz\n")
    (small / "fewer.tsv").write_text("anna_0\tx\ncy_0\ty\n")
    arguments = [argument.format(small=small) for argument in REFUSED[message]]
    done = analyse(checkpoints[OURS], "--data", small, "--results", tmp_path / "out", *arguments, check=False)
    said = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 1 and len(said) == 1 and message in said[0], done.stderr
    assert not (tmp_path / "out" / "results.json").exists() and not (tmp_path / "out" / STATES).exists()


def test_encoders_that_are_refused(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    for message, *encoders in (
        ("'a b' names a folder, and must be of letters", f"a b={checkpoints[OURS]}"),
        ("'é' names a folder", f"é={checkpoints[OURS]}"),
        ("two encoders are called x", f"x={checkpoints[OURS]}", f"x={checkpoints['hubert']}"),
        ("gone.pt is no file", tmp_path / "gone.pt"),
        ("its states are not finite numbers", broken_checkpoint(checkpoints, tmp_path / "nan.pt")),
    ):
        done = analyse(*encoders, "--data", small, "--results", tmp_path / "out", "--measures", "rank", check=False)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
        assert "Traceback" not in done.stderr and "--encoder" not in done.stderr
        assert not (tmp_path / "out" / STATES).exists()


def test_what_is_not_its_own_stays(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "states").mkdir(parents=True)
    (out / "states" / "mine").write_text("mine")
    given = [checkpoints[OURS], "--data", small, "--measures", "rank", "--places", "2", "--results", out]
    (out / "analysis.md").write_text("mine")
    assert "analysis.md is not of this command" in analyse(*given, check=False).stderr
    assert (out / "analysis.md").read_text() == "mine"
    (out / "analysis.md").unlink()
    analyse(*given)
    assert (out / "states" / "mine").read_text() == "mine" and "RankMe" in (out / "analysis.md").read_text()


def test_a_place_that_one_of_two_lacks_is_told_before_anything_is_written(analyse, checkpoints, small, tmp_path):
    given = [checkpoints[OURS], checkpoints["hubert"], "--data", small, "--measures", "rank", "--places", "2.f"]
    assert "hubert has no place '2.f'" in analyse(*given, "--results", tmp_path / "out", check=False).stderr
    assert not (tmp_path / "out").exists()


def test_a_clip_too_short_for_a_frame(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    soundfile.write(small / "short.wav", np.full(300, 0.1), RATE_HZ)
    (small / "test.tsv").write_text((small / "test.tsv").read_text() + "short.wav\t300\n")
    done = analyse(checkpoints[OURS], "--data", small, "--results", tmp_path / "out", check=False)
    assert done.returncode == 1 and "short.wav: 300 samples, " in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / STATES).exists()


def test_few_clips_and_labels_measure_what_can_be(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    """One clip, one speaker, a class with one example, a clip without words, a tier of some clips only."""
    default = ",".join(name for name in MEASURES if name != "robustness")
    lines = (small / "test.tsv").read_text().splitlines()
    labels = small / "labels"
    (small / "one.tsv").write_text("\n".join(lines[:2]) + "\n")
    base = [checkpoints[OURS], "--data", small, "--labels", labels, "--measures", default, "--places", "1"]
    analyse(*base, "--split", "one", "--results", tmp_path / "one")
    skipped = content_of(tmp_path / "one")["skipped"]
    assert "it needs two speakers" in skipped[f"{OURS}: abx"] and "two clips" in skipped[f"{OURS}: phones"]
    assert "three clips" in skipped[f"{OURS}: information"] and "nothing" in skipped[f"{OURS}: clips"]
    rows = content_of(tmp_path / "one")["rows"]
    assert {row["measure"] for row in rows} == {
        *("branches", "context", "layers", "order", "rank", "similarity", "temporal", "units")
    }
    assert all(row["low"] is None for row in rows if row["measure"] != "abx")
    assert "nan" not in (tmp_path / "one" / "analysis.md").read_text()

    (small / "speakers.tsv").write_text("\ufeffanna_0\tx\r\nben_0\tx\n\ncy_0\tx\n")
    done = analyse(*base[:5], "--speakers", small / "speakers.tsv", "--measures", "abx,units", "--results",
                   tmp_path / "speaker")  # fmt: skip
    assert "abx: not measured: it needs two speakers (--labels or --speakers)" in done.stdout

    whole = read_json(labels / "anna_0.json")
    (labels / "anna_0.json").write_text(as_json(Alignment({**whole.tiers, "words": ()}, whole.seconds, "anna")))
    done = analyse(*base[:-4], "--measures", "similarity,order,clips", "--results", tmp_path / "wordless")
    found = content_of(tmp_path / "wordless")
    assert not found["skipped"] and all(row["value"] is not None for row in found["rows"])
    assert {row["other"] for row in found["rows"]} >= {"words", "phones", "mel", "speakers"}

    (labels / "anna_0.json").write_text(as_json(Alignment({"phones": whole.tiers["phones"]}, whole.seconds, "anna")))
    done = analyse(*base[:-4], "--measures", "similarity", "--results", tmp_path / "tier")
    assert "words: not measured: left out, as 1 of 3 clips have no such labels" in done.stdout
    assert {row["other"] for row in content_of(tmp_path / "tier")["rows"]} == {"phones", "mel", "speakers", "languages"}


def test_encoders_of_other_frame_rates(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    encoders = [f"a={checkpoints['hubert']}", f"b={checkpoints['fast']}"]
    done = analyse(*encoders, "--data", small, "--results", tmp_path / "o", "--measures", "layers,rank,rank,branches")
    assert "a: branches: not measured: no layer has branches f and s" in done.stdout
    assert "## Not measured\n\n- a: branches: no layer" in (tmp_path / "o" / "analysis.md").read_text()
    found = content_of(tmp_path / "o")
    assert found["seconds"].keys() == {"a: layers", "a: rank", "b: layers", "b: rank", "a and b: layers"}
    assert any(row.get("other_encoder") == "b" and row["value"] is not None for row in found["rows"])
    assert len({json.dumps(row) for row in found["rows"]}) == len(found["rows"])
    # the order in which encoders are named does not matter
    analyse(*encoders[::-1], "--data", small, "--results", tmp_path / "o", "--measures", "layers,rank")
    assert content_of(tmp_path / "o") == found


def test_precision_is_of_the_encoder_alone(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    """Log-mel energies, and what is measured of them, are those of float32."""
    for name, more in (("full", []), ("half", ["--precision", "bfloat16"])):
        arguments = ["--data", small, "--results", tmp_path / name, "--measures", "rank", "--places", "mel,1"]
        analyse(checkpoints[OURS], *arguments, *more)
    full, half = (content_of(tmp_path / name)["rows"] for name in ("full", "half"))
    for one, other in zip(full, half, strict=True):
        assert (one == other) == (one["place"] == "mel")


def test_the_reach_of_states_in_half_precision(analyse, checkpoints, small: Path, tmp_path: Path) -> None:
    options = ["--measures", "context", "--places", "1", "--precision", "bfloat16"]
    analyse(checkpoints["hubert"], "--data", small, "--results", tmp_path, *options)
    assert content_of(tmp_path)["rows"]


def test_without_matplotlib_the_page_is_written(analyse, checkpoints, small: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = analyse(checkpoints[OURS], "--data", small, "--results", tmp_path, "--measures", "rank", "--places", "1")
    assert "no plot of rank: a plot needs matplotlib" in done.stdout
    assert "RankMe" in (tmp_path / "analysis.md").read_text() and not list(tmp_path.glob("*.png"))


def test_a_full_disk(checkpoints, small: Path, small_disk, analyse) -> None:
    disk = small_disk(20_000)
    done = analyse(checkpoints[OURS], "--data", small, "--results", disk, check=False)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and str(disk) in line and "cannot be written: No space left" in line
    assert not hidden_files(disk)


def test_help_names_all_measures() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    text = re.sub(r"\s+", " ", parser._subparsers._group_actions[0].choices["analyse"].format_help())
    assert f"only these of {', '.join(sorted(MEASURES))} " in text
