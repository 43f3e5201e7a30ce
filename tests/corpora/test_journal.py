"""The journal of a scan: a run that was killed goes on where it stopped, whatever became of the files meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_command import corpus_writer, write_audio

from summarymixing_fairseq.corpora.audio import audio_file, scan
from summarymixing_fairseq.corpora.audio.scan import JOURNAL_NAME, forget_journals, read_clips
from summarymixing_fairseq.corpora.writing.options import AudioRules, ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.system.errors import InputError

prepare = corpus_writer("folder")


def read(root: Path, paths: list[str], dest: Path, rules: AudioRules | None = None) -> tuple[list[Clip], list[Refusal]]:
    refusals: list[Refusal] = []
    options = ManifestOptions(dest, rules or AudioRules(), workers=1)
    return read_clips(root, paths, options, refusals), refusals


class Killed(BaseException):
    """Stands for the end of a process: nothing catches it."""


class Tree:
    """Six files, of which one is broken, scanned in this process; counts what is read."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.dest = folder / "audio", folder / "out"
        self.paths = [f"{name}.flac" for name in "abcdef"]
        for number, path in enumerate(self.paths):
            write_audio(self.root / path, 16000 + number)
        (self.root / "b.flac").write_bytes(b"")
        self.read: list[str] = []
        self.die_at: str | None = None
        monkeypatch.setattr(scan, "read_clip", self._read)

    def _read(self, path: str, root: str, rules: AudioRules) -> Clip | Refusal:
        if path == self.die_at:
            raise Killed
        self.read.append(path)
        return audio_file.read_clip(path, root, rules)

    def scan(self, rules: AudioRules | None = None, root: Path | None = None) -> list[str]:
        """Scan, and return what was read for it; results must be those of a scan without a journal."""
        self.read = []
        results = read(root or self.root, self.paths, self.dest, rules)
        read_now = [*self.read]
        with TemporaryDirectory() as other_dest:
            assert results == read(root or self.root, self.paths, Path(other_dest), rules)
        return read_now

    def scan_until(self, path: str) -> None:
        self.die_at = path
        with pytest.raises(Killed):
            self.scan()
        self.die_at = None

    @property
    def journal(self) -> Path:
        return self.dest / JOURNAL_NAME


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    return Tree(tmp_path, monkeypatch)


def test_a_killed_scan_goes_on_where_it_stopped(tree):
    tree.scan_until("d.flac")
    assert tree.read == ["a.flac", "b.flac", "c.flac"]
    assert tree.scan() == ["d.flac", "e.flac", "f.flac"]
    assert tree.scan() == []
    forget_journals(tree.dest)
    assert tree.scan() == tree.paths


def test_a_resumed_run_writes_the_same_bytes_and_removes_the_journal(tree, tmp_path):
    prepare(tree.root, tmp_path / "undisturbed", valid_fraction=0.3, workers=1)
    tree.die_at, tree.read = "e.flac", []
    with pytest.raises(Killed):
        prepare(tree.root, tree.dest, valid_fraction=0.3, workers=1)
    assert [path.name for path in tree.dest.iterdir()] == [JOURNAL_NAME]
    tree.die_at, tree.read = None, []
    prepare(tree.root, tree.dest, valid_fraction=0.3, workers=1)
    assert tree.read == ["e.flac", "f.flac"]
    files = {path.name: path.read_bytes() for path in tree.dest.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert JOURNAL_NAME not in files and "refused.tsv" in files


def test_a_changed_file_is_read_again(tree):
    tree.scan()
    write_audio(tree.root / "c.flac", 20000)  # another size
    status = (tree.root / "d.flac").stat()
    os.utime(tree.root / "d.flac", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    write_audio(tree.root / "b.flac", 40000)  # was refused
    (tree.root / "e.flac").unlink()
    assert tree.scan() == ["b.flac", "c.flac", "d.flac", "e.flac"]
    write_audio(tree.root / "e.flac", 40000)
    assert tree.scan() == ["e.flac"]
    assert tree.scan() == []


def test_a_file_that_changes_while_it_is_read_is_read_again(tree, monkeypatch):
    def read_and_change(path: str, root: str, rules: AudioRules) -> Clip | Refusal:
        result = audio_file.read_clip(path, root, rules)
        if path == "c.flac":
            write_audio(tree.root / "c.flac", 20000)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(scan, "read_clip", read_and_change)
        read(tree.root, tree.paths, tree.dest)
    assert tree.scan() == ["c.flac"]


@pytest.mark.parametrize("rules", [None, AudioRules(verify=True), AudioRules(min_seconds=0.5)])
def test_the_journal_of_another_folder_or_of_other_rules_is_not_used(tree, tmp_path, rules):
    tree.scan()
    other = {"rules": rules} if rules else {"root": tmp_path / "copy"}
    (tmp_path / "copy").symlink_to(tree.root)
    assert tree.scan(**other) == tree.paths
    assert tree.scan(**other) == []
    assert tree.scan() == tree.paths


@given(cut=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_journal_cut_anywhere_is_used_as_far_as_it_goes(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    for name in "abc":
        (folder / f"{name}.flac").touch()  # refused, which is as good here
    paths = ["a.flac", "b.flac", "c.flac"]
    expected = read(folder, paths, folder)
    whole = (folder / JOURNAL_NAME).read_bytes()
    (folder / JOURNAL_NAME).write_bytes(whole[: int(cut * len(whole))])
    assert read(folder, paths, folder) == expected
    assert (folder / JOURNAL_NAME).read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        *(
            f'["d.flac", SIZE, TIME, {result}]'
            for result in ("{}, null", "16003, true", "-1, null", '"bad", null', "[], []")
        ),
        "[" * 100_000,
        *[
            "",
            "no json",
            "[]",
            '["d.flac"]',
            '["d.flac", 1, 2]',
            '["d.flac", 1, 2, 3, 4, 5]',
            "{}",
            "7",
            "[7, 1, 2, 3, 4]",
        ],
    ],
)
def test_what_stands_after_a_damaged_line_is_read_again(tree, line):
    tree.scan()
    lines = tree.journal.read_text("utf-8").splitlines()
    status = (tree.root / "d.flac").stat()
    lines[4] = line.replace("SIZE", str(status.st_size)).replace("TIME", str(status.st_mtime_ns))
    tree.journal.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    assert tree.scan() == ["d.flac", "e.flac", "f.flac"]
    assert [json.loads(one)[0] for one in tree.journal.read_text("utf-8").splitlines()[1:]] == tree.paths


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", bytes(range(256)) * 100])
def test_what_is_no_journal_is_replaced(tree, content):
    tree.dest.mkdir()
    tree.journal.write_bytes(content)
    assert tree.scan() == tree.paths
    assert tree.scan() == []


def test_a_journal_of_another_user_is_not_believed(tree, monkeypatch):
    tree.scan()
    monkeypatch.setattr(os, "geteuid", lambda: tree.journal.stat().st_uid + 1)
    assert tree.scan() == tree.paths


def test_a_journal_that_is_a_link_overwrites_nothing(tree):
    tree.dest.mkdir()
    (tree.dest / "target").write_text("precious")
    tree.journal.symlink_to(tree.dest / "target")
    with pytest.raises(
        InputError, match=r"\.headers\.journal is not a journal but a link, folder or device: remove it"
    ):
        tree.scan()
    assert (tree.dest / "target").read_text() == "precious"
    tree.journal.unlink()
    os.mkfifo(tree.journal)  # reading it would never end
    with pytest.raises(InputError, match="is not a journal"):
        tree.scan()


def test_a_path_named_twice_gives_two_results(tree):
    tree.paths = ["a.flac", "c.flac", "a.flac"]
    tree.scan()
    assert tree.scan() == []
