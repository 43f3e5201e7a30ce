"""Ctrl-C and SIGTERM at any moment: one line, status 128 + signal, whole files only, no process left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_probes import fake_tools, mp3s_command, write_configs, write_data
from manifest_command import linked_clips
from pipeline import Trained
from processes import Started, assert_interrupted, hidden_files, script, summarymixing

from summarymixing_fairseq.system import interrupts

# Runs of each command in the sweep at random moments.
NUM_RANDOM = 8


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of manifests over so many files that a pool of processes works for a while."""
    folder = linked_clips(tmp_path_factory.mktemp("many"), 3000)
    num_samples = soundfile.info(folder / "0.flac").frames
    rows = "".join(f"{number}.flac\t{num_samples}\n" for number in range(3000))
    (folder / "train.tsv").write_text(f"{folder}\n{rows}")
    return folder


def mp3s_that_waits(folder: Path) -> list[str]:
    """`summarymixing mp3s` on tools that only wait."""
    write_configs(folder / "configs")
    write_data(folder / "root", "slurp")
    (folder / "a.pt").write_text("an encoder")
    arguments = ["--data", folder / "root", "--results", folder / "out", "--config-dir", folder / "configs"]
    arguments += ["--encoder", folder / "a.pt", "--jobs", "2", "--override", "fake.sleep=60"]
    return mp3s_command(fake_tools(folder / "tools"), *arguments)


COMMANDS: dict[str, Callable[[Trained, Path, Path], list[str]]] = {
    "decode": lambda trained, many, out: summarymixing(
        "decode", trained.fine_tuned, "--data", trained.data, "--split", "train", "--results", out, "--device", "cpu"
    ),
    "features": lambda trained, many, out: summarymixing(
        *("features", trained.pretrained, "--data", trained.data, "--split", "train", "--dest", out),
        *("--device", "cpu", "--batch-seconds", "2"),
    ),
    "units": lambda trained, many, out: summarymixing(
        *("units", "fit", trained.pretrained, "--data", trained.data, "--split", "train", "--layer", "1"),
        *("--clusters", "50", "--dest", out / "units.safetensors", "--device", "cpu", "--batch-seconds", "2"),
    ),
    "check-manifest": lambda trained, many, out: summarymixing(
        "check-manifest", many, "--workers", "2", "--report", out / "report.tsv"
    ),
    "benchmark": lambda trained, many, out: summarymixing(
        *("benchmark", "data", "--clips", "6", "--repeats", "3", "--threads", "1", "--workers", "1"),
        *("--json", out / "data.json"),
    ),
    "mp3s": lambda trained, many, out: mp3s_that_waits(out.parent),
}


def left_in(temporary: Path) -> list[str]:
    """Temporary files that are left, except the folder of sockets that torch's data workers always leave."""
    return [path.name for path in temporary.iterdir() if not path.name.startswith("pymp-")]


def assert_whole(out: Path) -> None:
    """Files under final names are whole, and there are no others."""
    assert not hidden_files(out), hidden_files(out)
    for path in out.rglob("*.npy"):
        assert np.load(path).dtype == np.float32
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    # of three files either all are there or none
    assert len(list(out.glob("*.wrd"))) in (0, 2) and (out / "scores.json").exists() == (out / "hypo.wrd").exists()


@pytest.mark.parametrize(
    "name, number, group, has_begun",
    [
        ("decode", signal.SIGINT, True, lambda started, out: (out / ".lock").exists()),
        ("features", signal.SIGTERM, False, lambda started, out: any(out.glob("*.npy"))),
        ("units", signal.SIGINT, True, lambda started, out: (out / ".lock").exists()),
        ("check-manifest", signal.SIGINT, False, lambda started, out: len(started.children()) > 1),
        ("check-manifest", signal.SIGINT, True, lambda started, out: len(started.children()) > 1),
        pytest.param(
            *("benchmark", signal.SIGINT, True, lambda started, out: any(started.temporary.glob("*benchmark*/*.tsv"))),
            marks=pytest.mark.long,  # 100 s beside another test
        ),
        ("mp3s", signal.SIGINT, True, lambda started, out: any(out.rglob("checkpoint_last.pt"))),
        pytest.param(
            *("mp3s", signal.SIGTERM, False, lambda started, out: any(out.rglob("checkpoint_last.pt"))),
            marks=pytest.mark.long,  # 13 s; the one above differs in the signal alone
        ),
    ],
)
def test_interrupted_at_work(trained, many_files, tmp_path, name, number, group, has_begun):
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    forked = name in ("decode", "features", "units", "benchmark")  # these import torch
    started = Started(COMMANDS[name](trained, many_files, out), temporary=temporary, forked=forked)
    started.wait_for(lambda: has_begun(started, out))
    ended = started.interrupt(number, group)
    if name == "mp3s":  # it prints its progress before
        ended = type(ended)(ended.status, ended.output, ended.errors.splitlines(True)[-1], ended.num_left)
    assert_interrupted(ended, number)
    assert_whole(out)
    assert not left_in(temporary)


def test_interrupted_before_it_has_imported_anything(tmp_path):
    """The handler is installed before argparse is imported; before that, Python itself starts."""
    started = Started(summarymixing("--version"))
    started.wait_for(started.is_armed)
    assert started.process.poll() is None, "the handler came when all was over"
    assert_interrupted(started.interrupt(signal.SIGINT, False), signal.SIGINT)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupted_at_random_moments(trained, many_files, tmp_path, name, number):
    drawn = random.Random(f"{name} {number}")
    seconds = 2.0  # mp3s waits much longer
    if name != "mp3s":
        began = time.monotonic()
        assert Started(COMMANDS[name](trained, many_files, tmp_path / "whole")).end().status == 0
        seconds = time.monotonic() - began
    num_interrupted = 0
    for repeat in range(NUM_RANDOM):
        out, temporary = tmp_path / "out", tmp_path / f"temporary{repeat}"
        shutil.rmtree(out, ignore_errors=True)
        temporary.mkdir()
        started = Started(COMMANDS[name](trained, many_files, out), temporary=temporary)
        started.wait_for(started.is_armed)
        time.sleep(seconds * drawn.random())
        if started.process.poll() is not None:
            assert started.end().status == 0
            continue
        ended = started.interrupt(number, group=repeat % 2 == 0)
        assert ended.num_left == 0 and "Traceback" not in ended.errors and "ignored" not in ended.errors, ended
        assert ended.status in (128 + number, 0), ended
        num_interrupted += ended.status != 0
        assert_whole(out)
        assert not left_in(temporary)
    assert num_interrupted


def run_code(code: str) -> Started:
    """Python code as a process that has called ``install``."""
    head = "from summarymixing_fairseq.system import interrupts, processes\n"
    return Started([sys.executable, "-c", f"{head}interrupts.install()\n{code}"])


def test_a_signal_is_held_back_while_calls_belong_together(tmp_path):
    code = f"""if True:
        import os, pathlib, signal, time
        with interrupts.cleanup(lambda: pathlib.Path({str(tmp_path)!r}, "cleaned").touch()):
            with interrupts.uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                pathlib.Path({str(tmp_path)!r}, "whole").touch()
            pathlib.Path({str(tmp_path)!r}, "too late").touch()
    """
    assert_interrupted(run_code(code).end(), signal.SIGINT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cleaned", "whole"]


def test_a_signal_right_after_a_folder_was_locked_leaves_no_lock(tmp_path):
    code = f"""if True:
        import os, pathlib, signal
        from summarymixing_fairseq.system import files
        lock = files._lock
        def locked(*arguments):
            descriptor = lock(*arguments)
            os.kill(os.getpid(), signal.SIGINT)
            return descriptor
        files._lock = locked
        with files.exclusive(pathlib.Path({str(tmp_path)!r}, "out")):
            print("went on")
    """
    ended = run_code(code).end()
    assert_interrupted(ended, signal.SIGINT)
    assert not ended.output and not any(tmp_path.iterdir())


def test_no_except_clause_and_no_callback_swallows_a_signal():
    code = """if True:
        import ctypes, os, signal
        def raised(*_):
            os.kill(os.getpid(), signal.SIGINT)
            return 0
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(raised)
        try:
            ctypes.CDLL(None).qsort((ctypes.c_int * 2)(2, 1), 2, 4, compare)
        except:
            pass
        print("went on")
    """
    ended = run_code(code).end()
    assert_interrupted(ended, signal.SIGINT)
    assert not ended.output


def test_a_child_that_is_waited_for_is_ended_with_its_own_children():
    """``Popen.wait`` holds a lock while it is interrupted."""
    script = "trap '' TERM; sleep 60 & wait"
    started = run_code(f"processes._SECONDS_TO_END = 0.5\nprocesses.run(['sh', '-c', {script!r}])")
    started.wait_for(lambda: len(started.children()) == 2)
    assert_interrupted(started.interrupt(signal.SIGINT, False), signal.SIGINT)


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup, or in a shell's background."""
    code = """if True:
        import os, signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupts.install()
        os.kill(os.getpid(), signal.SIGINT)
        print("went on")
    """
    assert run_code(code).end().output == "went on\n"


def test_without_install_all_is_as_ever(tmp_path):
    with pytest.raises(KeyboardInterrupt), interrupts.uninterrupted(), interrupts.cleanup(int):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_quickstart_ends_the_stage_that_runs(tmp_path):
    out = tmp_path / "quickstart"
    started = Started(script("examples/quickstart/run.py", "--dest", out, "--source", "synthesiser"))
    started.wait_for(lambda: any(out.rglob("*.flac")))
    ended = started.interrupt(signal.SIGINT, group=True)
    assert_interrupted(ended, signal.SIGINT, "interrupted: run the same command again to go on")
    assert not hidden_files(out)
