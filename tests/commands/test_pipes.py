"""A reader that leaves, or a closed stream: no error message, and outputs in files are complete."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pipeline import ROOT, Trained, run
from processes import environment, script, summarymixing

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("examples", "manifests")
    for path in (ROOT / folder).rglob("*.py")
    if "as_script(" in path.read_text() or path.name in ("make_manifest.py", "cache_speed.py")
)


def run_unread(command: list[str], stream: str) -> subprocess.CompletedProcess:
    """Run a command whose ``stream`` is a pipe that nobody reads; the other one is captured."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: write_end}
    try:
        return subprocess.run(command, cwd=ROOT, env=environment(), text=True, timeout=120, **streams)
    finally:
        os.close(write_end)


def run_closed(command: list[str], redirection: str) -> subprocess.CompletedProcess:
    """Run a command with a stream closed from the start, by a shell: ``>&-`` or ``2>&-``."""
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command]
    return subprocess.run(shell, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)


# what Python does when it starts with its stderr closed
WITHOUT_STDERR = """if True:
    import os, sys
    from summarymixing_fairseq.commands.main import console_main
    os.close(2)
    sys.stderr = sys.__stderr__ = None
    sys.argv = sys.argv[1:]
    console_main()
"""


def test_scripts_are_found():
    assert {"manifests/make_manifest.py", "examples/quickstart/run.py", "examples/benchmarks/run.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS)
def test_help_of_a_script(path):
    done = run_unread(script(path, "--help"), "stdout")
    assert not done.stderr and done.returncode in (0, 141)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("decode", "--help"), ("mp3s", "--list")])
def test_output_of_a_command(arguments):
    for done in (run_unread(summarymixing(*arguments), "stdout"), run_closed(summarymixing(*arguments), ">&-")):
        assert not done.stderr and done.returncode in (0, 141)


@pytest.mark.parametrize("arguments", [("layers", "nowhere"), ("no-such-command",)])
def test_errors_that_nobody_reads(arguments):
    for done in (run_unread(summarymixing(*arguments), "stderr"), run_closed(summarymixing(*arguments), "2>&-")):
        assert not done.stdout and done.returncode == (1 if arguments[0] == "layers" else 2)


def test_a_closed_stdin_holds_no_audio(toned_stream: Path):
    done = run_closed(summarymixing("decode", toned_stream, "--stream"), "<&-")
    assert done.returncode == 1 and "no audio came on stdin" in done.stderr and "Traceback" not in done.stderr


def test_a_report_is_written_before_anything_is_printed(labelled_speech: Path, tmp_path: Path):
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\ngone.flac\t5\n")
    command = summarymixing("check-manifest", tmp_path, "--report", tmp_path / "report")
    done = run_unread(command, "stdout")
    assert done.returncode == 1 and done.stderr.endswith("1 problems; --report FILE lists them all\n")
    assert "gone.flac" in (tmp_path / "report").read_text()


def test_head_that_leaves_in_the_middle(labelled_speech: Path, tmp_path: Path):
    for number in range(1000):
        (tmp_path / f"split{number:03}.tsv").write_text(f"{tmp_path}\n{number}.flac\t5\n")
    command = " ".join(summarymixing("check-manifest", str(tmp_path), "--workers", "1", "2>/dev/null"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        **{"cwd": ROOT, "env": environment(), "capture_output": True, "text": True, "timeout": 120},
    )
    assert done.stdout.count("\n") == 1 and not done.stderr and done.returncode == 141


def test_progress_on_a_closed_stream_is_no_reason_to_stop(trained: Trained, tmp_path: Path):
    """A pipe that nobody reads: the next test, with the same progress bars. In a fork, as this imports torch."""
    command = ["summarymixing", "features", trained.pretrained, "--data", trained.data, "--split", "valid"]
    command += ["--dest", tmp_path, "--device", "cpu"]
    done = run("python", "-c", WITHOUT_STDERR, *command)
    num_clips = len((trained.data / "valid.tsv").read_text().splitlines()) - 1
    assert done.returncode == 0 and done.stdout.startswith(f"{num_clips} clips")
    assert len(list(tmp_path.glob("*.npy"))) == num_clips


def test_progress_of_a_script_that_nobody_reads(labelled_speech: Path, tmp_path: Path):
    command = script("manifests/make_manifest.py", labelled_speech.parent / "audio", "--dest", tmp_path)
    done = run_unread(command, "stderr")
    assert done.returncode == 0 and "found 16 clips" in done.stdout
    assert (tmp_path / "train.tsv").exists()
    again = run_unread(command, "stdout")
    # a scan that takes no time shows no progress bar
    assert again.returncode == 141 and again.stderr[-1:] in ("", "\n") and "Error" not in again.stderr
