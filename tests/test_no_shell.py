"""No shell ever sees a file name: by what the code calls, and by names that a shell would run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("summarymixing_fairseq", "manifests", "examples")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
ALWAYS_A_SHELL = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
ALWAYS_A_SHELL |= {"asyncio.create_subprocess_shell", "commands.getoutput", "popen2.popen2"}
RUNS_A_COMMAND = {"run", "Popen", "call", "check_call", "check_output"}
SHELLS = {"sh", "bash", "dash", "zsh", "/bin/sh", "/bin/bash", "/usr/bin/env"}
TEXT = (ast.Constant, ast.JoinedStr, ast.BinOp)


def shell_calls(source: str) -> list[int]:
    """Lines of calls that give a command to a shell, or that give it as one string."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [node.lineno] * any(alias.asname and alias.name in ("os", "subprocess") for alias in node.names)
        if isinstance(node, (ast.List, ast.Tuple)) and node.elts and isinstance(node.elts[0], ast.Constant):
            found += [node.lineno] * (node.elts[0].value in SHELLS)
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "subprocess"):
            # names that would hide from the look at calls
            hidden = {"system", "popen", "getoutput", "getstatusoutput", "*", *RUNS_A_COMMAND}
            found += [node.lineno] * bool(hidden & {alias.name for alias in node.names})
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ALWAYS_A_SHELL:
            found.append(node.lineno)
        shell = [word.value for word in node.keywords if word.arg == "shell"]
        if any(not (isinstance(value, ast.Constant) and value.value is False) for value in shell):
            found.append(node.lineno)
        if name.startswith("subprocess.") and name.split(".")[-1] in RUNS_A_COMMAND:
            command = node.args[0] if node.args else None
            if command is None or isinstance(command, TEXT) or ast.unparse(command).startswith("shlex.join"):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_gives_a_command_to_a_shell(path):
    assert shell_calls(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "os.system('ls ' + name)",
        "os.popen(name)",
        "from os import system",
        "from subprocess import run",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=wanted)",
        "subprocess.run(f'sox {name}')",
        "subprocess.Popen('sox ' + name)",
        "subprocess.check_output(shlex.join(command))",
        "subprocess.getoutput(name)",
        "asyncio.create_subprocess_shell(name)",
        "import subprocess as commands",
        "from subprocess import *",
        "command = ['bash', '-c', name]",
    ],
)
def test_the_look_at_the_sources_finds(source):
    assert shell_calls(source) == [1]


@pytest.mark.parametrize("source", ["subprocess.run(command)", "subprocess.run(['sox', name], shell=False)"])
def test_the_look_at_the_sources_allows(source):
    assert shell_calls(source) == []


NAMES = ("a;touch x.flac", "$(touch x).flac", "`touch x`.flac", "a|touch x.flac", "-rf.flac", "a&&touch x.flac")
NAMES += ("a'b\"c.flac", "*.flac", "~.flac", "$HOME.flac", "a\\b.flac", "> x.flac")


def test_names_that_a_shell_would_run_go_through_every_reader_unharmed(tmp_path):
    """In a folder of their own, so that a `touch` would show; `decode` reads them up to the checkpoint it lacks."""
    from summarymixing_fairseq.commands.inputs import clip_of_row, read_in_batches
    from summarymixing_fairseq.data.manifest import Manifest
    from summarymixing_fairseq.data.segments import SegmentDataset

    audio, here = tmp_path / "$(touch y) ;audio", tmp_path / "here"
    audio.mkdir()
    here.mkdir()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16_000)
    for number, name in enumerate(NAMES):
        soundfile.write(audio / name, noise[: 8_000 + number], 16_000)
    command = [sys.executable, str(ROOT / "manifests" / "make_manifest.py"), str(audio), "--dest", str(tmp_path / "d")]
    subprocess.run([*command, "--valid-fraction", "0", "--verify", "--workers", "1"], check=True, cwd=here)
    manifest = Manifest(tmp_path / "d" / "train.tsv")
    assert {clip.name: clip.num_samples for clip in manifest} == {name: 8_000 + i for i, name in enumerate(NAMES)}
    dataset = SegmentDataset(manifest, 16_000, pad=True)
    assert [len(dataset[i]["source"]) for i in range(len(dataset))] == manifest.sizes.tolist()
    clips = [clip_of_row(clip) for clip in manifest]
    assert sum(len(batch) for batch, _ in read_in_batches(clips, 10)) == len(NAMES)
    check = [sys.executable, "-m", "summarymixing_fairseq", "check-manifest", str(tmp_path / "d"), "--split", "train"]
    subprocess.run([*check, "--workers", "1"], check=True, cwd=here, env={"PYTHONPATH": str(ROOT)})
    assert not list(here.iterdir())
    assert sorted(path.name for path in audio.iterdir()) == sorted(NAMES)
