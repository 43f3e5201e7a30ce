"""What is written for a corpus: rows, labels, dictionaries, splits, reports; and which clips stay together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manifest_command import parse_manifest

from summarymixing_fairseq.corpora.writing import corpus as corpus_files
from summarymixing_fairseq.corpora.writing.corpus import Prepared, write_files
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal, format_manifest, format_refusals, path_problem
from summarymixing_fairseq.corpora.writing.splits import split_clips, stable_fraction
from summarymixing_fairseq.system.command import run_script
from summarymixing_fairseq.system.errors import InputError

names = st.text(min_size=1, max_size=20).map(lambda text: f"{text}.flac").filter(lambda text: not path_problem(text))
counts = st.integers(0, 2**40)


@settings(max_examples=50)
@given(st.lists(st.builds(Clip, names, counts, st.none() | counts), max_size=8))
@example([Clip("a.flac", 1), Clip("a.flac", 1, 0), Clip("b c.flac", 2, 2**40)])
def test_rows_with_and_without_offset_survive_a_round_trip(clips):
    text = format_manifest(Path("/data/some folder"), clips)
    assert parse_manifest(text) == ("/data/some folder", clips)
    assert [line.count("\t") for line in text.split("\n")[1:-1]] == [1 + (clip.offset is not None) for clip in clips]


@settings(max_examples=50)
@given(names, st.integers(1, 10**9))
def test_a_row_read_line_by_line_as_fairseq_does_is_the_same(tmp_path_factory, name, num_samples):
    path = tmp_path_factory.getbasetemp() / "row.tsv"
    path.write_bytes(format_manifest(Path("/r"), [Clip(name, num_samples)]).encode("utf-8"))
    with open(path, encoding="utf-8") as stream:
        stream.readline()
        rows = [line.strip().split("\t") for line in stream]
    assert rows == [[name, str(num_samples)]]


def test_fractions_are_pinned_so_that_splits_never_move():
    # sha1("a/b.flac"), worked out with the sha1sum command
    sha1 = "923aa2c4ab52deaed0c9f46e0250c364b0c1697e"
    assert stable_fraction("a/b.flac") == pytest.approx(int(sha1[:14], 16) / 16**14)
    assert all(0 <= stable_fraction(str(number)) < 1 for number in range(200))


def some_clips(number: int) -> list[Clip]:
    return [Clip(f"{index}.flac", 16000 + index) for index in range(number)]


def test_adding_clips_moves_none():
    few_train, few_valid, _ = split_clips(some_clips(100), 0.2)
    train, valid, _ = split_clips(some_clips(300), 0.2)
    assert set(few_train) <= set(train) and set(few_valid) <= set(valid)
    assert 30 < len(valid) < 90
    assert len(train) + len(valid) == 300


def test_parts_of_a_file_and_clips_of_a_speaker_stay_together():
    clips = [Clip(f"{speaker}/{book}.flac", 10, part) for speaker in range(30) for book in range(3) for part in (0, 10)]
    train, valid, notes = split_clips(clips, 0.3)
    assert not notes and not {clip.path for clip in train} & {clip.path for clip in valid}
    train, valid, _ = split_clips(clips, 0.3, lambda clip: clip.path.split("/")[0])
    speakers = [{clip.path.split("/")[0] for clip in part} for part in (train, valid)]
    assert not speakers[0] & speakers[1] and len(speakers[0] | speakers[1]) == 30 and len(train) + len(valid) == 180


@pytest.mark.parametrize(("fraction", "side"), [(1e-9, "valid"), (1 - 1e-9, "train")])
def test_neither_side_of_a_small_tree_is_left_empty(fraction, side):
    train, valid, (note, *_) = split_clips(some_clips(3), fraction)
    moved = {"train": train, "valid": valid}[side]
    assert len(moved) == 1 and len(train) + len(valid) == 3
    assert f"{moved[0].path} was moved to {side}" in note


def test_a_valid_split_of_one_clip_or_of_a_third_of_the_audio_is_warned_of():
    one, third = "WARNING: valid is one clip, ", "WARNING: valid is {}% of the audio, "
    clips = [Clip(f"{name}/{number}.flac", 10) for name in "abc" for number in range(2)]
    *_, (_, warning) = split_clips(clips, 1e-9, lambda clip: clip.path[0])
    assert warning.startswith(third.format(33))
    *_, (_, warning) = split_clips(some_clips(10), 1e-9)
    assert warning.startswith(one)
    train, valid, notes = split_clips([*some_clips(10), Clip("long.flac", 90000)], 0.3)
    assert len(valid) > 1 and not notes


@pytest.mark.parametrize(
    ("group_of", "message"),
    [
        ((), "1 usable file cannot be split .* give --valid-fraction 0"),
        ((lambda clip: "a",), "1 usable speaker cannot be split"),
    ],
)
def test_one_group_cannot_be_split(group_of, message):
    with pytest.raises(InputError, match=message):
        split_clips([Clip("a/1.flac", 5), Clip("a/1.flac", 5, 5)], 0.5, *group_of)


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


def test_refusals_are_one_line_each():
    text = format_refusals([Refusal("b\tc\n.flac", "bad", "detail"), Refusal("a\udcff.flac", "worse")])
    assert text == "a\\udcff.flac\tworse\nb\\tc\\n.flac\tbad: detail\n"
    text.encode("utf-8")


def utterance(name: str, text: str | None = None, **labels: str) -> Utterance:
    return Utterance(Clip(f"{name}.flac", 16000), text, labels)


def write_corpus(
    dest: Path, splits, refusals=(), force: bool = False, max_refused: float | None = None, **others
) -> str:
    num_found = sum(map(len, splits.values())) + len(refusals)
    prepared = Prepared(Path("/audio"), splits, list(refusals), num_found, **others)
    return corpus_files.write_corpus(prepared, ManifestOptions(dest, force=force, max_refused=max_refused))


def test_summary_counts_hours_and_reasons(tmp_path):
    clips = [Clip("a", 16000 * 3600), Clip("b", 16000 * 1800), Clip("c", 16000)]
    refusals = [Refusal("x", "no samples"), Refusal("y", "too short", "0.1 s"), Refusal("z", "too short")]
    summary = write_corpus(tmp_path, {"train": [*map(Utterance, clips)], "valid": []}, refusals, notes=["a note"])
    assert summary.splitlines() == [
        "found 6 clips",
        "train: 3 clips, 1.50 h (seconds: min 1.00, median 1800.00, max 3600.00)",
        "refused 2: too short, e.g. y",
        "refused 1: no samples, e.g. x",
        "a note",
    ]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_text_and_labels_beside_the_manifests(tmp_path):
    splits = {
        "train": [utterance("a", "SI TU", intent="go"), utterance("b", "TU", intent="stop")],
        "valid": [utterance("c", "TÛ", intent="rest")],
    }
    summary = write_corpus(tmp_path, splits, [Refusal("d.flac", "broken")], files={"model.bin": b"\x00\xff"})
    assert (tmp_path / "model.bin").read_bytes() == b"\x00\xff"
    (tmp_path / "model.bin").unlink()
    assert contents(tmp_path) == {
        "train.tsv": "/audio\na.flac\t16000\nb.flac\t16000\n",
        "train.wrd": "SI TU\nTU\n",
        "train.ltr": "S I | T U |\nT U |\n",
        "train.intent": "go\nstop\n",
        "valid.tsv": "/audio\nc.flac\t16000\n",
        "valid.wrd": "TÛ\n",
        "valid.ltr": "T Û |\n",
        "valid.intent": "rest\n",
        "dict.ltr.txt": "| 3\nT 2\nU 2\nI 1\nS 1\n",
        "dict.intent.txt": "go 1\nstop 1\n",
        "refused.tsv": "d.flac\tbroken\n",
    }
    assert "valid: not in dict.ltr.txt, as train lacks them (rows with them): Û (1)" in summary
    assert "valid: not in dict.intent.txt, as train lacks them (rows with them): rest (1)" in summary
    assert "found 4 clips" in summary and "refused 1: broken, e.g. d.flac" in summary


def test_a_dictionary_for_each_folder(tmp_path):
    splits = {
        "fold1/train": [utterance("a", emotion="sad")],
        "fold1/test": [utterance("b", emotion="sad")],
        "fold2/train": [utterance("b", emotion="neu")],
    }
    write_corpus(tmp_path, splits)
    written = contents(tmp_path)
    assert written["fold1/dict.emotion.txt"] == "sad 1\n" and written["fold2/dict.emotion.txt"] == "neu 1\n"
    assert written["fold1/test.emotion"] == "sad\n" and "fold2/test.tsv" not in written


def test_other_units(tmp_path):
    write_corpus(tmp_path, {"train": [utterance("a", "go on")]}, units={"pieces": lambda text: "_go _on"})
    assert contents(tmp_path).keys() == {"train.tsv", "train.wrd", "train.pieces", "dict.pieces.txt"}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (utterance("a", "two  spaces"), "train: a.flac has the text 'two  spaces'"),
        (utterance("a", ""), "train: a.flac has the text ''"),
        (utterance("a", intent=""), "train: a.flac has the intent ''"),
    ],
)
def test_what_no_label_file_can_hold(tmp_path, one, message):
    with pytest.raises(InputError, match=message):
        write_corpus(tmp_path, {"train": [one]})
    assert not list(tmp_path.iterdir())


def test_too_many_refused(tmp_path):
    prepared = {"train": [utterance("a")]}, [Refusal("b.flac", "broken"), Refusal("c.flac", "broken")]
    with pytest.raises(InputError, match=r"2 of 3 clips refused, more than --max-refused 0\.5; the first, b\.flac"):
        write_corpus(tmp_path, *prepared, max_refused=0.5)
    assert contents(tmp_path) == {"refused.tsv": "b.flac\tbroken\nc.flac\tbroken\n"}
    write_corpus(tmp_path, *prepared, max_refused=0.67)
    assert "train.tsv" in contents(tmp_path)


def test_nothing_usable(tmp_path):
    with pytest.raises(InputError, match=r"none of 1 clips of /audio is usable; the first, b\.flac: broken"):
        write_corpus(tmp_path, {"train": []}, [Refusal("b.flac", "broken")])
    assert contents(tmp_path) == {"refused.tsv": "b.flac\tbroken\n"}


def test_resampled_clips_are_pointed_out(tmp_path):
    splits = {"train": [Utterance(Clip(f"{n}.mp3", 5, file_rate_hz=48000)) for n in range(2)]}
    assert "2 files at 48000 Hz: speech_pretraining" in write_corpus(tmp_path, splits)


def test_files_of_an_earlier_run_are_pointed_out(tmp_path):
    write_corpus(tmp_path, {"train": [utterance("a", "SI", tone="low")], "valid": [utterance("b", "SI", tone="low")]})
    summary = write_corpus(tmp_path, {"train": [utterance("a", "SI")], "valid": []}, force=True)
    stale = {line.split(" is from an earlier run")[0] for line in summary.splitlines() if "earlier run" in line}
    names = ("train.tone", "dict.tone.txt", "valid.tsv", "valid.wrd", "valid.ltr", "valid.tone")
    assert stale == {str(tmp_path / name) for name in names}


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
