"""Scripts that are interrupted, or run twice at a time: whole files only, one line, no process left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import mp3s_mini
import pytest
import soundfile
from manifest_command import corpus_command, linked_clips, parse_manifest
from processes import Started, assert_interrupted, hidden_files, script

from summarymixing_fairseq.system import files

main = corpus_command("folder")

NUM_FILES = 1500
NUM_RANDOM = 12


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many files, links to one, as two processes need some tenths of a second for when they decode them."""
    return linked_clips(tmp_path_factory.mktemp("audio"), NUM_FILES)


SCRIPTS: dict[str, Callable[[Path, Path], list[str]]] = {
    "make_manifest": lambda audio, out: script(
        "manifests/make_manifest.py", audio, "--dest", out, "--workers", "2", "--verify"
    ),
    "mp3s_mini": lambda audio, out: script(
        "examples/corpora/mp3s_mini.py", "--dest", out, "--scale", "0.05", "--workers", "1"
    ),
    "asterisk": lambda audio, out: script(
        "examples/corpora/asterisk.py", "--dest", out, "--source", "synthesiser", "--workers", "2"
    ),
    "measure_scale": lambda audio, out: script(
        "examples/benchmarks/manifest_scale.py", "--folder", out, "--files", "300", "--tree", "600", "--rounds", "1"
    ),
}


def assert_whole(out: Path) -> None:
    """No temporary file; manifests all there or none; every FLAC file can be read to its end."""
    assert not hidden_files(out), hidden_files(out)
    assert (out / "train.tsv").exists() == (out / "valid.tsv").exists()
    for path in out.rglob("*.flac"):
        soundfile.read(path)
    assert not list(out.glob("measure-scale-*"))


@pytest.mark.parametrize(
    "name, number, group, has_begun",
    [
        ("make_manifest", signal.SIGINT, True, lambda started, out: len(started.children()) == 2),
        ("make_manifest", signal.SIGTERM, False, lambda started, out: (out / ".headers.journal").exists()),
        ("mp3s_mini", signal.SIGINT, False, lambda started, out: any(out.rglob("*.flac"))),
        ("asterisk", signal.SIGTERM, False, lambda started, out: any(out.rglob("*.flac"))),
        ("measure_scale", signal.SIGINT, True, lambda started, out: any(out.rglob("train.tsv"))),
    ],
)
def test_interrupted_at_work(audio, tmp_path, name, number, group, has_begun):
    started = Started(SCRIPTS[name](audio, tmp_path))
    started.wait_for(lambda: has_begun(started, tmp_path))
    assert_interrupted(started.interrupt(number, group), number)
    assert_whole(tmp_path)


def test_the_run_after_an_interrupted_one_ends_well(audio, tmp_path):
    started = Started(SCRIPTS["make_manifest"](audio, tmp_path))
    started.wait_for(lambda: (tmp_path / ".headers.journal").exists())
    assert_interrupted(started.interrupt(signal.SIGINT, True), signal.SIGINT)
    assert main([str(audio), "--dest", str(tmp_path), "--verify"]) == 0
    splits = [parse_manifest((tmp_path / f"{split}.tsv").read_text())[1] for split in ("train", "valid")]
    assert sum(map(len, splits)) == NUM_FILES
    assert not list(tmp_path.glob(".*"))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", SCRIPTS)
def test_interrupted_at_random_moments(audio, tmp_path, name, number):
    drawn = random.Random(f"{name} {number}")
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    assert Started(SCRIPTS[name](audio, tmp_path / "whole")).end().status == 0
    seconds, num_interrupted = time.monotonic() - began, 0
    for repeat in range(NUM_RANDOM):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        started = Started(SCRIPTS[name](audio, out))
        started.wait_for(started.is_armed)
        time.sleep(seconds * drawn.random())
        if started.process.poll() is not None:
            assert started.end().status == 0
        else:
            ended = started.interrupt(number, group=repeat % 2 == 0)
            assert ended.num_left == 0 and "Traceback" not in ended.errors and "ignored" not in ended.errors, ended
            assert ended.status in (128 + number, 0), ended
            num_interrupted += ended.status != 0
        assert_whole(out)
    assert num_interrupted


def test_kept_out_while_another_is_at_work(tmp_path, capsys):
    out = tmp_path / "out"
    with files.exclusive(out):
        assert mp3s_mini.main(["--dest", str(out)]) == 1
    errors = capsys.readouterr().err
    assert f": another run is writing to {out}: " in errors and errors.count("\n") == 1
    assert not out.exists()


def test_two_at_a_time_and_one_after(audio, tmp_path):
    """Of two scans of different folders, one's files are there, and all of them."""
    (tmp_path / "other").mkdir()
    for number in range(300):
        os.link(audio / "0.flac", tmp_path / "other" / f"other{number}.flac")
    out = tmp_path / "out"
    commands = [script("manifests/make_manifest.py", root, "--dest", out) for root in (audio, tmp_path / "other")]
    ended = [run.end() for run in [Started(command) for command in commands]]
    assert sorted(one.status for one in ended) == [0, 1], ended
    (first,) = (number for number in (0, 1) if ended[number].status == 0)
    assert ended[1 - first].lines()[-1].startswith("summarymixing manifest: ")
    written = {path.name: path.stat() for path in out.glob("*.tsv")}
    roots = {path.read_text().splitlines()[0] for path in out.glob("*.tsv")}
    assert roots == {str((audio, tmp_path / "other")[first])}
    assert set(written) == {"train.tsv", "valid.tsv"} and not hidden_files(out)
    # the same once more changes nothing; the other one is refused
    assert Started(commands[first]).end().status == 0
    again = Started(commands[1 - first]).end()
    assert again.status == 1 and "train.tsv is of" in again.errors and "give --force" in again.errors
    stats = {path.name: path.stat() for path in out.glob("*.tsv")}
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in stats.items()} == {
        name: (s.st_ino, s.st_mtime_ns) for name, s in written.items()
    }
