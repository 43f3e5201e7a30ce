"""Manifests and label files: what is read, and the error for what cannot be."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.corpora.writing.rows import Clip as Written
from summarymixing_fairseq.corpora.writing.rows import format_manifest, path_problem
from summarymixing_fairseq.data.manifest import Clip, Manifest, read_labels
from summarymixing_fairseq.system.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [[""], []])
def test_rows(tmp_path, newline, end):
    """Also parts of files, and a last line without an end."""
    lines = ["/data", "a/b c.flac\t16000", "a/b c.flac\t9\t0", "a/b c.flac\t8\t100", "ü.wav\t7", *end]
    manifest = Manifest(write(tmp_path / "train.tsv", newline.join(lines)))
    assert manifest.root == "/data" and manifest.sizes.tolist() == [16_000, 9, 8, 7] and len(manifest) == 4
    long = Path("/data/a/b c.flac"), "a/b c.flac"
    assert list(manifest) == [
        *(Clip(*long, 16_000), Clip(*long, 9, 0), Clip(*long, 8, 100)),
        Clip(Path("/data/ü.wav"), "ü.wav", 7),
    ]


@pytest.mark.parametrize(
    "row",
    [
        "a.wav",
        "a.wav 5",
        "a.wav\t",
        "a.wav\t1.5",
        "a.wav\t-5",
        "\t5",
        "a.wav\t5\t6\t7",
        "a.wav\t5\t-6",
        "a\t" + "9" * 19,
        "",
    ],
)
def test_malformed_rows(tmp_path, row):
    path = write(tmp_path / "t.tsv", f"/data\nok.wav\t5\n{row}\n")
    with pytest.raises(InputError, match=r"t\.tsv, line 3: .* is not path, tab, number of samples") as error:
        Manifest(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"manifest .*t\.tsv has no row"),
        (b"/data\n", r"manifest .*t\.tsv has no row"),
        (b"RIFF\xff\xfe\x00\x81", r"t\.tsv is not UTF-8 text"),
        (None, r"t\.tsv cannot be read \(No such file.*\): make it with summarymixing manifest"),
    ],
)
def test_what_is_no_manifest(tmp_path, content, message):
    if content is not None:
        (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        Manifest(tmp_path / "t.tsv")


def test_short_clips_are_skipped_by_their_position(tmp_path):
    manifest = Manifest(write(tmp_path / "t.tsv", "/d\na\t5\nb\t50\nc\t4\nd\t49\n"), min_samples=49)
    assert [clip.name for clip in manifest] == ["b", "d"] and manifest.skipped == {0, 2}
    with pytest.raises(InputError, match="has no row of 51 samples or more"):
        Manifest(tmp_path / "t.tsv", min_samples=51)


def test_another_process_reads_the_same_names(tmp_path):
    manifest = Manifest(write(tmp_path / "t.tsv", "/d\nfirst\t5\nsecond ü\t50\n"))
    assert [clip.name for clip in pickle.loads(pickle.dumps(manifest))] == ["first", "second ü"]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(manifest.name, [0, 1, 0, 1] * 5) == ["first", "second ü"] * 10


def test_a_manifest_that_is_written_again_meanwhile_is_read_as_it_was(tmp_path):
    manifest = Manifest(write(tmp_path / "t.tsv", "/d\nfirst\t5\nsecond\t5\n"))
    write(tmp_path / "t.tsv", "/d\nother name\t5\n")
    assert manifest.name(0) == "first" and manifest[-1].name == "second"
    for index in (2, -3):
        with pytest.raises(IndexError):
            manifest[index]


names = st.text(min_size=1, max_size=12).map(lambda text: text + ".flac").filter(lambda name: not path_problem(name))
rows = st.lists(
    st.builds(Written, names, st.integers(1, 10**12), st.none() | st.integers(0, 10**12)), min_size=1, max_size=6
)


@given(rows)
def test_what_the_scripts_write_is_read_back(tmp_path_factory, clips):
    path = tmp_path_factory.getbasetemp() / "round_trip.tsv"
    path.write_bytes(format_manifest(Path("/some where"), clips).encode())
    manifest = Manifest(path)
    assert manifest.root == "/some where"
    assert [Written(clip.name, clip.num_samples, clip.offset) for clip in manifest] == clips


def test_labels(tmp_path):
    path = write(tmp_path / "train.ltr", "A B |\n\nÜ |\n")
    assert read_labels(path, 3) == ["A B |", "", "Ü |"]
    assert read_labels(write(tmp_path / "one.ltr", "A |"), 1) == ["A |"]
    assert read_labels(write(tmp_path / "empty.ltr", ""), 0) == []
    (tmp_path / "marked.ltr").write_bytes(b"\xef\xbb\xbfA |\n")  # the mark is no letter
    assert read_labels(tmp_path / "marked.ltr", 1) == ["A |"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"A\n", r"t\.ltr has 1 lines, its manifest 2 rows"),
        (b"A\nB\nC\n", r"t\.ltr has 3 lines, its manifest 2 rows"),
        (b"\xff\xff", r"t\.ltr is not UTF-8"),
        (None, r"t\.ltr cannot be read: No such file"),
    ],
)
def test_labels_that_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "t.ltr").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "t.ltr", 2)
