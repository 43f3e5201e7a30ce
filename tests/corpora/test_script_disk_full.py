"""A disk that is full: one line with the path, what was there before as it was, nothing half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile
from manifest_command import linked_clips
from processes import Ended, Started, hidden_files, script

NUM_FILES = 300


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linked_clips(tmp_path_factory.mktemp("audio"), NUM_FILES)


def assert_refused(ended: Ended, path: str) -> None:
    assert ended.status == 1 and ended.num_left == 0, ended
    (line,) = ended.lines()
    assert (
        line.startswith(("error: ", "summarymixing manifest: ")) and path in line and "cannot be written: " in line
    ), ended.errors


@pytest.mark.parametrize("workers", ["1", "2"])
def test_journal(audio, tmp_path, workers):
    command = script("manifests/make_manifest.py", audio, "--dest", tmp_path, "--workers", workers)
    assert_refused(Started(command, file_size_limit=8192).end(), ".headers.journal")
    assert [path.name for path in tmp_path.iterdir()] == [".headers.journal"]
    # where there is room again, it goes on
    assert Started(command).end().status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.tsv", "valid.tsv"]


@pytest.mark.parametrize(
    "command",
    [
        ("examples/corpora/mp3s_mini.py", "--dest", "DEST", "--scale", "0.05", "--workers", "2"),
        ("examples/corpora/timed_speech.py", "--dest", "DEST", "--minutes", "1"),
        ("examples/corpora/asterisk.py", "--dest", "DEST", "--source", "synthesiser", "--workers", "1"),
        ("examples/benchmarks/manifest_scale.py", "--folder", "DEST", "--files", "100", "--tree", "100"),
    ],
)
def test_speech(tmp_path, command):
    limit = 24_000
    ended = Started(script(*(str(tmp_path) if one == "DEST" else one for one in command)), file_size_limit=limit).end()
    assert_refused(ended, ".flac")
    assert not hidden_files(tmp_path)
    for path in tmp_path.rglob("*.flac"):
        soundfile.read(path)
    assert not list(tmp_path.rglob("*.tsv"))


@pytest.mark.parametrize("room", [0, 8192])
def test_a_full_file_system(audio, small_disk, room):
    """A real one, of 128 KiB."""
    disk = small_disk(128 * 1024)
    dest = disk / "data"
    dest.mkdir()
    for name in ("train.tsv", "valid.tsv"):
        (dest / name).write_text("precious\n")
    fill(disk, room)
    command = script("manifests/make_manifest.py", audio, "--dest", dest, "--force")
    assert_refused(Started(command).end(), str(dest))
    assert [(dest / name).read_text() for name in ("train.tsv", "valid.tsv")] == ["precious\n"] * 2
    assert not hidden_files(dest)


def fill(disk: Path, room: int) -> None:
    """Leave ``room`` bytes of a small disk."""
    free = os.statvfs(disk)
    with open(disk / "filler", "wb", buffering=0) as filler:
        filler.write(bytes(free.f_bavail * free.f_bsize - room))
