"""Tests of corpora/join.py: rows of several manifests as one, their labels, weights and duplicates."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from manifest_command import corpus_command, corpus_writer, labels, lines, parse_manifest, paths, refused, write_audio

from summarymixing_fairseq.commands.main import main as run
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.data.clips import open_clip
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.system.errors import InputError

prepare = corpus_writer("join")
main = corpus_command("join")


def corpus(folder: Path, splits: Mapping[str, Mapping[str, str]], seconds: float = 0.2, **kinds: str) -> Path:
    """Audio of splits below FOLDER/audio, each of another length, and a manifest with words and letters, or `kinds`."""
    number = 0
    for split, texts in splits.items():
        rows = []
        for name in texts:
            number += 1
            num_samples = round(seconds * 16_000) + number
            if not (folder / "audio" / name).exists():
                write_audio(folder / "audio" / name, num_samples)
            rows.append(f"{name}\t{num_samples}\n")
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / f"{split}.tsv").write_text(f"{folder / 'audio'}\n{''.join(rows)}")
        for kind in kinds or ("wrd", "ltr"):
            told = [text if kind == "wrd" else " ".join(text) + " |" for text in texts.values()]
            (folder / "data" / f"{split}.{kind}").write_text("".join(f"{one}\n" for one in told))
    for kind in kinds or ("ltr",):
        (folder / "data" / f"dict.{kind}.txt").write_text("a 1\n")
    return folder / "data"


@pytest.fixture
def two(tmp_path) -> list[Path]:
    first = corpus(tmp_path / "a", {"train": {"1.wav": "ab", "2.wav": "b"}, "valid": {"3.wav": "c"}})
    return [first, corpus(tmp_path / "b", {"train": {"1.wav": "dd"}, "test": {"9.wav": "e"}}, seconds=0.3)]


def test_rows_and_labels_of_both(two, tmp_path):
    summary = prepare(two, tmp_path / "out")
    root, _ = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert root == str(tmp_path)
    assert labels(tmp_path / "out", "train", "wrd") == {
        "a/audio/1.wav": "ab",
        "a/audio/2.wav": "b",
        "b/audio/1.wav": "dd",
    }
    assert labels(tmp_path / "out", "train", "ltr")["a/audio/1.wav"] == "a b |"
    assert paths(tmp_path / "out" / "valid.tsv") == ["a/audio/3.wav"]
    assert paths(tmp_path / "out" / "test.tsv") == ["b/audio/9.wav"]
    assert lines(tmp_path / "out" / "dict.ltr.txt") == ["| 3", "b 2", "d 2", "a 1"]
    assert f"train has 1 clips, 0.00 h, of {two[1]}" in summary
    assert not refused(tmp_path / "out")
    assert run(["check-manifest", str(tmp_path / "out"), "--split", "train"]) == 0


def test_weights_repeat_rows_of_train_alone(two, tmp_path, capsys):
    prepare(two, tmp_path / "out", weights=[1, 3])
    manifest = Manifest(tmp_path / "out" / "train.tsv")
    assert [clip.name for clip in manifest] == ["a/audio/1.wav", "a/audio/2.wav", *["b/audio/1.wav"] * 3]
    assert lines(tmp_path / "out" / "train.wrd") == ["ab", "b", "dd", "dd", "dd"]
    assert len(Manifest(tmp_path / "out" / "test.tsv")) == 1
    assert run(["check-manifest", str(tmp_path / "out"), "--split", "train"]) == 0
    assert "2 rows of train repeat the row above, by the weights of joined.txt" in capsys.readouterr().out
    assert lines(tmp_path / "out" / "joined.txt") == [f"1\t{two[0]}", f"3\t{two[1]}"]
    with pytest.raises(InputError, match="--weights: 1 for 2 folders"):
        prepare(two, tmp_path / "x", weights=[1])


def test_roots_behind_links_need_no_permission(two, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    shutil.move(tmp_path / "a" / "audio", tmp_path / "far" / "away" / "audio")
    (tmp_path / "a" / "audio").symlink_to(tmp_path / "far" / "away" / "audio")
    prepare(two, tmp_path / "out")
    assert paths(tmp_path / "out" / "valid.tsv") == ["far/away/audio/3.wav"]
    for clip in Manifest(tmp_path / "out" / "train.tsv"):
        assert len(read_segment(open_clip(clip), *clip.part)) == clip.num_samples


def test_links_out_of_a_root_are_refused(two, tmp_path):
    write_audio(tmp_path / "secret.wav")
    (tmp_path / "b" / "audio" / "9.wav").unlink()
    (tmp_path / "b" / "audio" / "9.wav").symlink_to(tmp_path / "secret.wav")
    prepare(two, tmp_path / "out")
    assert refused(tmp_path / "out") == [("9.wav", "link out of the root (--allow-outside-root keeps it)")]


def test_links_of_archives_out_of_a_root_are_refused(two, tmp_path):
    audio = tmp_path / "b" / "audio"
    with tarfile.open(tmp_path / "secret.tar", "w") as archive:
        archive.add(audio / "9.wav", "9.wav")
        member = archive.getmember("9.wav")
    (audio / "x.tar").symlink_to(tmp_path / "secret.tar")
    name, row = f"x.tar:{member.offset_data}:{member.size}", (two[1] / "test.tsv").read_text().splitlines()[1]
    (two[1] / "test.tsv").write_text(f"{audio}\n{row.replace('9.wav', name)}\n")
    prepare(two, tmp_path / "out")
    assert refused(tmp_path / "out") == [(name, "link out of the root (--allow-outside-root keeps it)")]


def test_a_link_that_is_named_like_a_member_of_an_archive(two, tmp_path):
    audio, name = tmp_path / "b" / "audio", "x.tar:1.wav"
    (audio / "9.wav").replace(tmp_path / "secret.wav")
    (audio / name).symlink_to(tmp_path / "secret.wav")
    row = (two[1] / "test.tsv").read_text().splitlines()[1]
    (two[1] / "test.tsv").write_text(f"{audio}\n{row.replace('9.wav', name)}\n")
    prepare(two, tmp_path / "out")
    assert refused(tmp_path / "out") == [(name, "link out of the root (--allow-outside-root keeps it)")]


def test_duplicates_are_named_and_kept_in_what_is_held_out(two, tmp_path):
    # by content, the valid clip of the first is in train of the second; by path, the third has two clips of the first
    shutil.copy(tmp_path / "a" / "audio" / "3.wav", tmp_path / "b" / "audio" / "1.wav")
    third = corpus(tmp_path / "a", {"train": {"1.wav": "ab", "7.wav": "x"}}, seconds=0.25)
    shutil.move(third, tmp_path / "c")
    two[0] = corpus(tmp_path / "a", {"train": {"1.wav": "ab", "2.wav": "b"}, "valid": {"3.wav": "c"}})
    prepare([*two, tmp_path / "c"], tmp_path / "out")
    assert sorted(paths(tmp_path / "out" / "train.tsv")) == ["a/audio/1.wav", "a/audio/2.wav", "a/audio/7.wav"]
    assert paths(tmp_path / "out" / "valid.tsv") == ["a/audio/3.wav"]
    assert refused(tmp_path / "out") == [
        (f"{tmp_path}/{path}", f"audio is in another manifest too: {two[0]}, {split}: {tmp_path}/a/audio/{other}.wav")
        for path, split, other in (
            ("a/audio/1.wav", "train", 1),
            ("a/audio/3.wav", "valid", 3),
            ("b/audio/1.wav", "valid", 3),
        )
    ]


def test_parts_of_one_file_that_do_not_overlap_are_no_duplicates(tmp_path):
    write_audio(tmp_path / "audio" / "long.wav", 16_000)
    for name, row in (("a", "8000\t0"), ("b", "8000\t8000"), ("c", "100\t7999")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text(f"{tmp_path}/audio\nlong.wav\t{row}\n")
    prepare([tmp_path / name for name in "abc"], tmp_path / "out")
    _, clips = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert [(one.num_samples, one.offset) for one in clips] == [(8_000, 0), (8_000, 8_000)]
    assert len(refused(tmp_path / "out")) == 1


def test_labels_that_one_lacks_or_pieces_of_other_models_are_left_out(tmp_path):
    first = corpus(tmp_path / "a", {"train": {"1.wav": "a"}}, wrd="", bpe9="", mood="")
    second = corpus(tmp_path / "b", {"train": {"1.wav": "b"}}, 0.3, wrd="", bpe9="")
    for folder, model in ((first, "one"), (second, "two")):
        (folder / "bpe9.model").write_text(model)
    summary = prepare([first, second], tmp_path / "out")
    assert f"train.mood is not joined: {second} has none" in summary
    assert "train.bpe9 is not joined: the pieces are of other models" in summary
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"joined.txt", "train.tsv", "train.wrd"}
    (second / "bpe9.model").write_text("one")
    prepare([first, second], tmp_path / "same")
    assert (tmp_path / "same" / "bpe9.model").read_text() == "one" and (tmp_path / "same" / "train.bpe9").exists()


def test_pieces_are_of_one_model_in_all_splits(tmp_path):
    first = corpus(tmp_path / "a", {"test": {"1.wav": "a"}}, bpe9="")
    second = corpus(tmp_path / "b", {"train": {"1.wav": "b"}}, 0.3, bpe9="")
    for folder, model in ((first, "one"), (second, "two")):
        (folder / "bpe9.model").write_text(model)
    summary = prepare([first, second], tmp_path / "out")
    assert all(f"{split}.bpe9 is not joined: the pieces are of other models" in summary for split in ("test", "train"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"joined.txt", "test.tsv", "train.tsv"}
    for path in (first / "test.bpe9", first / "bpe9.model"):
        path.unlink()
    prepare([first, second], tmp_path / "alone")
    assert (tmp_path / "alone" / "bpe9.model").read_text() == "two" and (tmp_path / "alone" / "train.bpe9").exists()


def test_files_that_are_gone_are_refused_by_name(two, tmp_path):
    (tmp_path / "b" / "audio" / "9.wav").unlink()
    prepare(two, tmp_path / "out")
    assert refused(tmp_path / "out") == [("b/audio/9.wav", "no such file")]
    assert not (tmp_path / "out" / "test.tsv").exists()


@pytest.mark.parametrize("case", ["one", "twice", "no manifest", "bad row", "labels"])
def test_what_cannot_be_joined_is_one_line(case, two, tmp_path, capsys):
    if case == "no manifest":
        (tmp_path / "empty").mkdir()
        two[1] = tmp_path / "empty"
    if case == "bad row":
        (two[1] / "train.tsv").write_text("/\nhello\n")
    if case == "labels":
        (two[1] / "train.ltr").write_text("a |\nb |\n")
    given = {"one": two[:1], "twice": [two[0]] * 2}.get(case, two)
    assert main([*map(str, given), "--dest", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    expected = {"no manifest": "has no manifest", "bad row": "line 2: 'hello'", "labels": "has 2 lines, its manifest 1"}
    assert expected.get(case, "give two or more folders of manifests, each once") in line
    assert not (tmp_path / "out").exists()
