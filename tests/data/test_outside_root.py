"""Rows of a manifest that lead out of its root, by their paths or by links: every reader refuses them."""

from __future__ import annotations

import shutil
import statistics
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.checks import check_first_clip
from summarymixing_fairseq.data.manifest import Manifest, OutsideRootError
from summarymixing_fairseq.data.reading import read_in_batches
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.probing.chunks import ChunkDataset
from summarymixing_fairseq.probing.kept_features import StateCache
from summarymixing_fairseq.system.errors import InputError

SECOND = 16_000
OPTION = r"--allow-outside-root \(training: \+task\.allow_outside_root=true\)"
LINKS = ["file.flac", "folder/other.flac", "deep/out.flac", "far.zip:ZIP"]
CLIMBING = ["../elsewhere/other.flac", "deep/../../elsewhere/other.flac", "ABSOLUTE", "..", "a/.././../x.flac"]


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A root with clips of its own, and with links to a clip elsewhere."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "deep").mkdir(parents=True)
    elsewhere.mkdir()
    noise = np.random.default_rng(3).uniform(-0.3, 0.3, SECOND)
    for path in (root / "own.flac", root / "deep" / "own.flac", elsewhere / "other.flac"):
        soundfile.write(path, noise, SECOND)
    for folder in (root, elsewhere):
        with zipfile.ZipFile(folder / "stored.zip", "w", zipfile.ZIP_STORED) as archive:
            archive.write(root / "own.flac", "own.flac")
    (root / "inside.flac").symlink_to("deep/own.flac")
    (root / "inside").symlink_to("deep")
    (root / "file.flac").symlink_to(elsewhere / "other.flac")
    (root / "deep" / "out.flac").symlink_to("../../elsewhere/other.flac")
    (root / "folder").symlink_to(elsewhere)
    (root / "far.zip").symlink_to(elsewhere / "stored.zip")
    return tmp_path


def write(places: Path, name: str, offset: int | None = None, root: str = "root", split: str = "train") -> Path:
    """A manifest of two rows: an ordinary one, and one with that name."""
    length = (places / "root" / "own.flac").stat().st_size
    name = {"ABSOLUTE": str(places / "elsewhere" / "other.flac")}.get(name, name)
    name = name.replace("ZIP", f"{30 + len('own.flac')}:{length}")
    row = f"{name}\t{SECOND}" if offset is None else f"{name}\t{SECOND // 2}\t{offset}"
    path = places / "data" / f"{split}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{places / root}\nown.flac\t{SECOND}\n{row}\n")
    return path


@pytest.mark.parametrize("name", CLIMBING)
def test_climbing_and_absolute_paths_are_refused_as_the_manifest_is_read(places, name):
    path = write(places, name)
    with pytest.raises(OutsideRootError, match=rf"train\.tsv, line 3: .* leads out of the manifest's root; .*{OPTION}"):
        Manifest(path)
    assert len(Manifest(path, allow_outside_root=True)) == 2


@pytest.mark.parametrize(
    "rows, message",
    [
        ("short\t1\na.\t9\n.b\t9\nshort\t1\nshort\t1\n../c\t9\n/d\t9\n", r"line 7: '\.\./c' leads out"),
        ("short\t1\n/d\t9\n../c\t9\n", "line 3: '/d' leads out"),
        ("/d\t9\n", "line 2: '/d' leads out"),
    ],
)
def test_the_line_that_is_named_counts_those_left_out(tmp_path, rows, message):
    (tmp_path / "t.tsv").write_text(f"/data\n{rows}")
    with pytest.raises(OutsideRootError, match=message):
        Manifest(tmp_path / "t.tsv", min_samples=5)


@pytest.mark.parametrize("before", ["a", "a.", "a..", "a...", "."])
def test_no_name_before_it_hides_a_row_that_climbs(tmp_path, before):
    """All names are searched at once, one after the other."""
    path = tmp_path / "t.tsv"
    path.write_text(f"/data\n{before}\t5\n../c\t5\n")
    with pytest.raises(OutsideRootError, match="line 3"):
        Manifest(path)


@pytest.mark.parametrize("name", ["deep/../own.flac", "a..b.flac", "...", "..a/b.flac", " /x.flac", "deep/./own.flac"])
def test_paths_that_only_look_like_it_are_taken(places, name):
    assert len(Manifest(write(places, name))) == 2


def test_names_with_a_nul_byte_or_longer_than_any_path_are_refused(places):
    for name in ("a\0b.flac", "x" * 4096):
        with pytest.raises(InputError, match=r"line 3: .* is not path, tab, number of samples"):
            Manifest(write(places, name))
    assert len(Manifest(write(places, "x" * 4095))) == 2
    path = places / "nul.tsv"
    path.write_bytes(b"/ro\0ot\na.flac\t5\n")
    with pytest.raises(InputError, match="root with a NUL byte"):
        Manifest(path)


@pytest.mark.parametrize("root", ["", ".", "relative"])
def test_a_root_that_is_relative_counts_from_where_the_command_runs(places, monkeypatch, root):
    monkeypatch.chdir(places / "root")
    shutil.copytree(places / "root" / "deep", places / "root" / "relative", symlinks=True)
    path = places / "t.tsv"
    path.write_text(f"{root}\nown.flac\t{SECOND}\nout.flac\t{SECOND}\n")
    if root != "relative":
        (places / "root" / "out.flac").symlink_to(places / "elsewhere" / "other.flac")
    first, second = Manifest(path)
    first.check_inside()
    with pytest.raises(OutsideRootError):
        second.check_inside()


def test_a_folder_beside_the_root_whose_name_begins_alike_is_outside(places):
    shutil.copytree(places / "elsewhere", places / "root2")
    (places / "root" / "beside.flac").symlink_to("../root2/other.flac")
    with pytest.raises(OutsideRootError, match="is a link out of the manifest's root"):
        Manifest(write(places, "beside.flac"))[1].check_inside()
    with pytest.raises(OutsideRootError, match="leads out"):
        Manifest(write(places, "../root2/other.flac"))


def read_as_segments(manifest: Manifest) -> None:
    SegmentDataset(manifest, SECOND, pad=True)[1]


def read_as_chunks(manifest: Manifest) -> None:
    ChunkDataset(manifest, SECOND, chunk_seconds=0.25)[1]


def read_to_decode(manifest: Manifest) -> None:
    list(read_in_batches(list(manifest), 10))


def read_to_cache(manifest: Manifest) -> None:
    audio = SegmentDataset(manifest, SECOND, pad=True)
    cache = StateCache(manifest.path.parent / "cache", np.zeros(len(manifest)))

    def encode(source, _):
        return torch.zeros(len(source), 1, 5, 1), [5] * len(source)

    cache.fill(audio, encode)


def check_the_first(manifest: Manifest) -> None:
    manifest.path.write_text(manifest.path.read_text().replace(f"own.flac\t{SECOND}\n", "", 1))
    check_first_clip(Manifest(manifest.path, allow_outside_root=manifest.real_root is None))


READERS_OF_ZIPS = [read_as_segments, read_as_chunks]
READERS = [read_as_segments, read_as_chunks, read_to_decode, read_to_cache, check_the_first]


@pytest.mark.parametrize("offset", [None, 100])
@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("read", READERS)
def test_links_out_of_the_root_are_refused_before_anything_is_read(places, read, name, offset, monkeypatch):
    path = write(places, name, offset)
    opened = []
    real_init = soundfile.SoundFile.__init__

    def init(self, file, *arguments, **options):  # of sub-classes too
        opened.append(str(file))
        real_init(self, file, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", init)
    with pytest.raises(OutsideRootError, match=rf"is a link out of the manifest's root, to {places}/elsewhere/"):
        read(Manifest(path))
    assert not [file for file in opened if name.split(":")[0] in file]


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("read", READERS)
def test_they_are_read_where_allowed(places, read, name):
    if "zip" not in name or read in READERS_OF_ZIPS:
        read(Manifest(write(places, name), allow_outside_root=True))


@pytest.mark.parametrize("root", ["root", "linked"])
@pytest.mark.parametrize("name", ["inside.flac", "inside/own.flac", "deep/../own.flac", "stored.zip:ZIP"])
@pytest.mark.parametrize("read", READERS)
def test_links_within_the_root_are_read(places, read, name, root):
    (places / "linked").symlink_to("root")  # the root itself may be a link
    if "zip" not in name or read in READERS_OF_ZIPS:
        read(Manifest(write(places, name, root=root)))


@pytest.mark.parametrize("name", ["speech_pretraining", "speech_finetuning"])
def test_no_stand_in_hides_it_in_training(places, name, load):
    """Also if all clips may be bad: a replacement would hide that the data is not what the manifest says."""
    write(places, "file.flac")
    (places / "data" / "train.ltr").write_text("A |\nA |\n")
    (places / "data" / "dict.ltr.txt").write_text("A 1\n| 1\n")
    fields = {"max_bad_fraction": 1.0} | ({"labels": "ltr"} if name == "speech_finetuning" else {})
    dataset = load(places / "data", name, **fields)
    assert len(dataset[0]["source"]) == SECOND
    with pytest.raises(OutsideRootError, match=OPTION):
        dataset[1]
    assert not dataset.bad_clips.indices()
    assert len(load(places / "data", name, allow_outside_root=True, **fields)[1]["source"]) == SECOND


def test_data_workers_hand_it_on(places, load):
    write(places, "file.flac")
    dataset = load(places / "data", "speech_pretraining")
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, sampler=[1])
    with pytest.raises(OutsideRootError):
        list(loader)


def test_check_manifest_tells_of_links_and_opens_none(places, capsys, monkeypatch):
    from summarymixing_fairseq.data import manifest_check

    write(places, "file.flac")
    data = str(places / "data")
    headers, read_file = [], manifest_check.read_file
    monkeypatch.setattr(manifest_check, "read_file", lambda path: headers.append(path.name) or read_file(path))
    assert main(["check-manifest", data]) == 1
    out = capsys.readouterr().out
    assert "WRONG link out of the root: 1, e.g. train.tsv, line 3: " in out and out.count("WRONG") == 1
    assert headers == ["own.flac"]
    assert main(["check-manifest", data, "--allow-outside-root"]) == 0
    write(places, "ABSOLUTE")
    assert main(["check-manifest", data]) == 1
    assert "train.tsv, line 3" in capsys.readouterr().err
    assert main(["check-manifest", data, "--allow-outside-root"]) == 0


@pytest.mark.parametrize("command", [["decode"], ["features", "--dest", "out"], ["evaluate", "--results", "out"]])
def test_commands_refuse_such_a_manifest_before_they_load_a_model(places, command, capsys, monkeypatch):
    monkeypatch.chdir(places)
    write(places, "ABSOLUTE", split="test")
    arguments = [*command, __file__, "--data", "data"]
    assert main(arguments) == 1
    assert "test.tsv, line 3" in capsys.readouterr().err
    # with the option it gets as far as the checkpoint, which is missing
    assert main([*arguments, "--allow-outside-root"]) == 1
    assert Path(__file__).name in capsys.readouterr().err


def test_the_look_at_every_row_costs_little(tmp_path):
    """Reading 200,000 rows takes at most a tenth longer than with the check off (median of paired ratios)."""
    path = tmp_path / "t.tsv"
    path.write_text(
        "/data\n" + "".join(f"speaker/{i % 1000}/book_{i:07}.flac\t{160_000 + i}\n" for i in range(200_000))
    )
    seconds = {True: [], False: []}
    for _ in range(5):
        for allowed, took in seconds.items():
            started = time.process_time()
            Manifest(path, allow_outside_root=allowed)
            took.append(time.process_time() - started)
    # the best of each side would let one lucky reading on a busy machine decide
    assert statistics.median(checked / plain for checked, plain in zip(seconds[False], seconds[True])) < 1.1
