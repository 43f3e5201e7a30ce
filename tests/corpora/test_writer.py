"""Tests of writer.py: rows, labels, splits, atomic files, summaries and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.corpora.writing import writer
from summarymixing_fairseq.corpora.writing.splits import split_clips, stable_fraction
from summarymixing_fairseq.corpora.writing.writer import (
    Clip,
    Refusal,
    format_dictionary,
    format_manifest,
    format_refusals,
    letters_of,
    parse_manifest,
    path_problem,
    summarise,
    write_files,
)
from summarymixing_fairseq.system.command import run_script
from summarymixing_fairseq.system.errors import InputError

names = st.text(min_size=1, max_size=20).map(lambda text: f"{text}.flac").filter(lambda t: not path_problem(t))
clips_strategy = st.lists(st.builds(Clip, names, st.integers(1, 10**9)), max_size=8)


@given(clips_strategy)
def test_manifest_rows_survive_a_round_trip(clips):
    root, read = parse_manifest(format_manifest(Path("/data/some folder"), clips))
    assert root == "/data/some folder"
    assert read == clips


@given(names, st.integers(1, 10**9))
def test_a_row_read_line_by_line_as_fairseq_does_is_the_same(tmp_path_factory, name, num_samples):
    path = tmp_path_factory.getbasetemp() / "row.tsv"
    path.write_bytes(format_manifest(Path("/r"), [Clip(name, num_samples)]).encode("utf-8"))
    with open(path, encoding="utf-8") as stream:
        stream.readline()
        rows = [line.strip().split("\t") for line in stream]
    assert rows == [[name, str(num_samples)]]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a\tb.flac", "tab or line break"),
        ("a\nb.flac", "tab or line break"),
        ("a\rb.flac", "tab or line break"),
        (" a.flac", "begins with a space"),
        ("12:30.mp3", "colon"),
        ("bad\udcff.flac", "not valid UTF-8"),
    ],
)
def test_names_that_no_manifest_can_hold(path, problem):
    assert problem in (path_problem(path) or "")


@pytest.mark.parametrize("path", ["a b/c d.flac", "привет/ŵy.flac", "12:30.flac", "a.mp3"])
def test_names_that_a_manifest_can_hold(path):
    assert path_problem(path) is None


def test_letters():
    assert letters_of("HELLO WORLD") == "H E L L O | W O R L D |"
    assert letters_of("I'M") == "I ' M |"


def test_dictionary_is_sorted_by_count_then_letter():
    assert format_dictionary(["B A | B |", "C |"]) == "| 3\nB 2\nA 1\nC 1\n"


def test_fractions_are_pinned_so_that_splits_never_move():
    # sha1("a/b.flac"), worked out with the sha1sum command
    assert stable_fraction("a/b.flac") == pytest.approx(int(A_B_FLAC_SHA1[:14], 16) / 16**14)
    assert all(0 <= stable_fraction(str(number)) < 1 for number in range(200))


A_B_FLAC_SHA1 = "923aa2c4ab52deaed0c9f46e0250c364b0c1697e"


def some_clips(number: int) -> list[Clip]:
    return [Clip(f"{index}.flac", 16000 + index) for index in range(number)]


def test_adding_clips_moves_none():
    few_train, few_valid, _ = split_clips(some_clips(100), 0.2)
    train, valid, _ = split_clips(some_clips(300), 0.2)
    assert set(few_train) <= set(train) and set(few_valid) <= set(valid)
    assert 30 < len(valid) < 90
    assert len(train) + len(valid) == 300


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "valid"), (1 - 1e-9, "train")])
def test_neither_side_of_a_small_tree_is_left_empty(fraction, side):
    train, valid, note = split_clips(some_clips(3), fraction)
    moved = {"train": train, "valid": valid}[side]
    assert len(moved) == 1 and len(train) + len(valid) == 3
    assert f"{moved[0].path} was moved to {side}" in note


def test_fraction_zero_has_no_valid_clips():
    assert split_clips(some_clips(3), 0) == (some_clips(3), [], None)


def test_one_clip_cannot_be_split():
    with pytest.raises(InputError, match="1 usable clip cannot be split .* set the valid fraction to 0"):
        split_clips(some_clips(1), 0.1)


def test_existing_file_is_kept_without_force(tmp_path):
    path = tmp_path / "new" / "train.tsv"
    write_files({path: "one\n"}, force=False)
    before = path.stat().st_mtime_ns
    write_files({path: "one\n"}, force=False)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"train\.tsv exists with other content: give --force"):
        write_files({path: "two\n", tmp_path / "other.tsv": "x"}, force=False)
    assert path.read_text() == "one\n"
    assert not (tmp_path / "other.tsv").exists()
    write_files({path: "two\n"}, force=True)
    assert path.read_bytes() == b"two\n"


def test_reports_follow_the_run_and_stale_ones_go(tmp_path):
    report = tmp_path / "refused.tsv"
    write_files({}, force=False, reports={report: "a\tbad\n"})
    write_files({}, force=False, reports={report: "b\tbad\n"})
    assert report.read_text() == "b\tbad\n"
    write_files({}, force=False, reports={report: ""})
    assert not report.exists()


def test_failure_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def full_disk(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return open(*args, **kwargs)

    monkeypatch.setattr(writer.package_files, "open", full_disk, raising=False)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        write_files({tmp_path / "train.tsv": "a", tmp_path / "valid.tsv": "b"}, force=False)
    assert list(tmp_path.iterdir()) == []


def test_refusals_are_one_line_each():
    text = format_refusals([Refusal("b\tc\n.flac", "bad", "detail"), Refusal("a\udcff.flac", "worse")])
    assert text == "a\\udcff.flac\tworse\nb\\tc\\n.flac\tbad: detail\n"
    text.encode("utf-8")


def test_summary_counts_hours_and_reasons():
    clips = [Clip("a", 16000 * 3600), Clip("b", 16000 * 1800), Clip("c", 16000)]
    refusals = [Refusal("x", "no samples"), Refusal("y", "too short", "0.1 s"), Refusal("z", "too short")]
    text = summarise(6, {"train": clips, "valid": []}, refusals, sample_rate_hz=16000, notes=["a note"])
    assert text.splitlines() == [
        "found 6 audio files",
        "train: 3 clips, 1.50 h (seconds: min 1.00, median 1800.00, max 3600.00)",
        "valid: 0 clips, 0.00 h",
        "refused 2: too short, e.g. y",
        "refused 1: no samples, e.g. x",
        "a note",
    ]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("do this"), 1, "error: do this\n"),
        (PermissionError(13, "Permission denied", "/there"), 1, "error: /there: Permission denied\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_statuses(capsys, error, status, message):
    def command() -> str:
        raise error

    assert run_script(command) == status
    assert capsys.readouterr().err == message


def test_success_prints_the_summary(capsys):
    assert run_script(lambda: "all well") == 0
    assert capsys.readouterr().out == "all well\n"


def test_broken_pipe_is_quiet():
    code = (
        "import sys; from summarymixing_fairseq.system.command import run_script\n"
        "sys.exit(run_script(lambda: 'x' * 1_000_000))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 141
