"""Tests of corpora/librilight.py: chapters and their voice activity to rows of segments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import corpus_command, corpus_writer, parse_manifest, refused, write_audio

from summarymixing_fairseq.corpora import librilight
from summarymixing_fairseq.corpora.writing.rows import Refusal
from summarymixing_fairseq.data.synthesiser import speak
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("librilight")
prepare = corpus_writer("librilight")

RATE_HZ = 16000
SEA = "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb"
HOLLAND = "medium/960/history_holland_librivox_64kb_mp3/history_of_holland_01_edmundson_64kb"
OTHER = "large/4/other_book_librivox_64kb_mp3/other_64kb"
# 60 s: segments of 0.4 to 29.9 and of 30.2 to 55, joined over short pauses; then 3 s after a pause of more than 2 s
ACTIVITY = [[0.4, 12.32], [12.96, 20.0], [20.5, 29.9], [30.2, 41.0], [41.6, 55.0], [57.5, 60.0]]
ROWS = [(29.5, 0.4), (24.8, 30.2)]


@pytest.fixture(scope="module")
def flac(tmp_path_factory) -> Path:
    """A chapter of one minute."""
    path = tmp_path_factory.mktemp("audio") / "chapter.flac"
    soundfile.write(path, np.resize(speak("He read a book to them by the sea.") / 2, 60 * RATE_HZ), RATE_HZ)
    return path


def add(root: Path, stem: str, flac: Path | None, activity: object = ACTIVITY) -> None:
    """A chapter and its sidecar; without the one where `flac` is None, without the other where `activity` is."""
    path = root / stem
    path.parent.mkdir(parents=True, exist_ok=True)
    if flac is not None:
        shutil.copy(flac, f"{path}.flac")
    if activity is not None:
        speaker = path.parts[-3]
        meta = {"id": "319", "title": "History of Holland", "genre": ["*Non-fiction"], "meta_genre": "Literature"}
        sidecar = {"speaker": speaker, "book_meta": meta, "snr": 5.391, "voice_activity": activity}
        Path(f"{path}.json").write_text(json.dumps(sidecar, indent=1))


@pytest.fixture
def corpus(tmp_path, flac) -> Path:
    root = tmp_path / "librilight"
    for stem in (SEA, HOLLAND, OTHER):
        add(root, stem, flac)
    return root


def rows(path: Path) -> list[tuple[str, float, float]]:
    """Path, seconds and first second of each row."""
    return [
        (clip.path, clip.num_samples / RATE_HZ, clip.offset / RATE_HZ)
        for clip in parse_manifest(path.read_text("utf-8"))[1]
    ]


def rows_of(*stems: str) -> list[tuple[str, float, float]]:
    return [(f"{stem}.flac", *row) for stem in stems for row in ROWS]


def test_rows_are_segments_of_the_chapters(corpus, tmp_path):
    summary = prepare(corpus, tmp_path / "out")
    assert (tmp_path / "out" / "train.tsv").read_text("utf-8") == f"{corpus}\n" + "".join(
        f"{stem}.flac\t472000\t6400\n{stem}.flac\t396800\t483200\n" for stem in (OTHER, HOLLAND, SEA)
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.tsv"]
    for line in (
        "found 3 clips",
        "train: 6 clips, 0.05 h (seconds: min 24.80, median 27.15, max 29.50)",
        "segments are of 3 files, those looked at have 0.05 h; 3 more segments are shorter than 10 s "
        "(--min-segment-seconds)",
        "speakers of LibriSpeech dev and test were not looked for: see --exclude-speakers",
        "valid.tsv is not written: give --valid LIBRISPEECH_DIR/dev-clean, or --valid-fraction",
    ):
        assert line in summary.splitlines()


def test_lengths_of_segments(corpus, tmp_path):
    arguments = [str(corpus), "--dest", str(tmp_path / "out"), "--subset", "small"]
    assert main([*arguments, "--target-seconds", "20", "--min-segment-seconds", "2"]) == 0
    expected = [(0.4, 19.6), (20.5, 9.4), (30.2, 10.8), (41.6, 13.4), (57.5, 2.5)]
    assert [(start, seconds) for _, seconds, start in rows(tmp_path / "out" / "train.tsv")] == expected


def test_subsets(corpus, tmp_path, flac):
    add(corpus, "duplicate/7/again_librivox/again_64kb", flac)
    (corpus / ".cache").mkdir()
    summary = prepare(corpus, tmp_path / "all")
    assert f"not looked at in {corpus}: duplicate (see --subset)" in summary
    assert rows(tmp_path / "all" / "train.tsv") == rows_of(OTHER, HOLLAND, SEA)
    prepare(corpus, tmp_path / "two", subsets=["medium", "duplicate"])
    assert rows(tmp_path / "two" / "train.tsv") == rows_of("duplicate/7/again_librivox/again_64kb", HOLLAND)
    for name in ("huge", "../librilight", "small/100"):
        with pytest.raises(InputError, match=rf"--subset {name}: no such folder"):
            prepare(corpus, tmp_path / "none", subsets=[name])


def test_one_subset_or_other_names_as_the_root(corpus, tmp_path):
    prepare(corpus / "small", tmp_path / "one")
    assert rows(tmp_path / "one" / "train.tsv") == rows_of(SEA.partition("/")[2])
    (corpus / "medium").rename(corpus / "unlab_medium")
    for name in ("small", "large"):
        shutil.rmtree(corpus / name)
    prepare(corpus, tmp_path / "renamed")
    assert rows(tmp_path / "renamed" / "train.tsv") == rows_of(f"unlab_{HOLLAND}")


def test_no_speaker_is_in_train_and_valid(tmp_path, flac):
    root = tmp_path / "librilight"
    for speaker in range(8):
        for subset in ("small", "medium"):
            add(root, f"{subset}/{speaker}/book_{subset}/a_64kb", flac)
    prepare(root, tmp_path / "out", valid_fraction=0.4)
    speakers = [
        {path.split("/")[1] for path, *_ in rows(tmp_path / "out" / f"{name}.tsv")} for name in ("train", "valid")
    ]
    assert all(speakers) and not speakers[0] & speakers[1] and len(speakers[0] | speakers[1]) == 8
    prepare(root, tmp_path / "small", valid_fraction=0.4, subsets=["small"])
    before = rows(tmp_path / "small" / "valid.tsv")
    assert set(before) <= set(rows(tmp_path / "out" / "valid.tsv"))
    shutil.copytree(root / "small" / "1", root / "alone" / "1")
    with pytest.raises(InputError, match="1 usable speaker cannot be split"):
        prepare(root, tmp_path / "none", valid_fraction=0.4, subsets=["alone"])


def test_valid_is_another_corpus(corpus, tmp_path):
    """Dev-clean of two speakers, one of whom Libri-Light has too."""
    librispeech = tmp_path / "LibriSpeech"
    for speaker in (84, 960):
        write_audio(librispeech / f"dev-clean/{speaker}/121123/{speaker}-121123-0000.flac", 2 * RATE_HZ)
    (librispeech / "dev-clean" / "84" / "broken.flac").write_text("no audio")
    arguments = [str(corpus), "--dest", str(tmp_path / "out"), "--valid", str(librispeech / "dev-clean")]
    assert main([*arguments, "--min-seconds", "30"]) == 0
    assert (tmp_path / "out" / "valid.tsv").read_text("utf-8") == (
        f"{librispeech / 'dev-clean'}\n84/121123/84-121123-0000.flac\t32000\n960/121123/960-121123-0000.flac\t32000\n"
    )
    assert rows(tmp_path / "out" / "train.tsv") == rows_of(OTHER, SEA)
    reasons = dict(refused(tmp_path / "out"))
    assert reasons.pop(f"{librispeech}/dev-clean/84/broken.flac").startswith("unreadable")
    assert reasons == {f"{HOLLAND}.flac": "speaker of --valid: 960"}
    assert main([*arguments, "--valid-fraction", "0.1"]) == 1


def test_speakers_of_dev_and_test_are_left_out(corpus, tmp_path):
    table = tmp_path / "SPEAKERS.TXT"
    table.write_text(
        ";ID  |SEX| SUBSET |MINUTES| NAME\n100 | F | test-other | 8 | A\n4 | M | train-other-500 | 8 | B\n"
    )
    for source in (table, tmp_path):
        summary = prepare(corpus, tmp_path / "out", exclude_speakers=source)
        assert rows(tmp_path / "out" / "train.tsv") == rows_of(OTHER, HOLLAND)
        assert refused(tmp_path / "out") == [(f"{SEA}.flac", "speaker of LibriSpeech dev or test: 100")]
        assert "--exclude-speakers left out 1 files" in summary and "not looked for" not in summary
    summary = prepare(corpus, tmp_path / "none", exclude_speakers=table, subsets=["medium"])
    assert "--exclude-speakers left out 0 files" in summary
    with pytest.raises(InputError, match="SPEAKERS.TXT does not exist"):
        prepare(corpus, tmp_path / "out", exclude_speakers=corpus)


def test_the_same_chapter_in_two_subsets(corpus, tmp_path, flac):
    again = SEA.replace("small", "large")
    add(corpus, again, flac)
    add(corpus, f"{SEA}_2", flac)
    prepare(corpus, tmp_path / "out")
    assert refused(tmp_path / "out") == [(f"{again}.flac", f"the same chapter twice: the first: {SEA}.flac")]
    assert rows(tmp_path / "out" / "train.tsv") == rows_of(OTHER, HOLLAND, SEA, f"{SEA}_2")
    Path(f"{corpus / SEA}.flac").write_bytes(b"")  # the copy counts where the first is broken
    prepare(corpus, tmp_path / "broken")
    assert refused(tmp_path / "broken") == [(f"{SEA}.flac", "empty file")]
    assert rows_of(again) == rows(tmp_path / "broken" / "train.tsv")[:2]


OUTSIDE = "voice_activity outside the file (of another one?): "
FOLDER = object()
NO_PAIRS = "voice_activity that is no list of [start, end] in seconds: "


@pytest.mark.parametrize(
    ("sidecar", "reason"),
    [
        (None, "no sidecar (--vad finds speech without)"),
        ([], "no speech found"),
        ([[3.0, 3.0]], "no speech found"),
        ([[3.0, 9.0]], "segments shorter than 10 s (--min-segment-seconds)"),
        ([[0.0, 20.0], [50.0, 61.5]], OUTSIDE + "[50.0, 61.5]"),
        ([[-1.5, 20.0]], OUTSIDE + "[-1.5, 20.0]"),
        ([[20.0, 10.0]], NO_PAIRS + "[20.0, 10.0]"),
        ([[0.0, 20.0, 1]], NO_PAIRS + "[0.0, 20.0, 1]"),
        ([0.0, 20.0], NO_PAIRS + "0.0"),
        ([["0.0", "20.0"]], NO_PAIRS + "['0.0', '20.0']"),
        ([[0.0, float("nan")]], NO_PAIRS + "[0.0, nan]"),
        ([[False, 20]], NO_PAIRS + "[False, 20]"),
        ([[0.0, None]], NO_PAIRS + "[0.0, None]"),
        ({"start": 0.0}, NO_PAIRS + "dict"),
        ("0.0 20.0", NO_PAIRS + "str"),
        (b"", "sidecar that is not JSON: Expecting value"),
        (b'{"voice_activity": [[0.0, 20', "sidecar that is not JSON: Expecting"),
        (b'{"speaker": "\xff"}', "sidecar that is not JSON: 'utf-8' codec"),
        (b"[" * 100_000, "sidecar that is not JSON: "),
        (b'{"speaker": "100"}', "sidecar without voice_activity"),
        (b'{"voice_activity": null}', "sidecar without voice_activity"),
        (b"[[0.0, 20.0]]", "sidecar without voice_activity"),
        (b'{"voice_activity": [[0, 1' + b"0" * 400 + b"]]}", OUTSIDE),
        (b'{"voice_activity": [[0, 1e999]]}', NO_PAIRS),
        (FOLDER, "sidecar that cannot be read: Is a directory"),
    ],
)
def test_sidecars_of_no_use(corpus, tmp_path, flac, sidecar, reason):
    """`sidecar`: what voice_activity holds or, as bytes, the whole file, or a folder in its place."""
    whole = isinstance(sidecar, bytes) or sidecar is FOLDER
    add(corpus, "small/9/book/bad", flac, None if whole else sidecar)
    if sidecar is FOLDER:
        (corpus / "small/9/book/bad.json").mkdir()
    elif whole:
        (corpus / "small/9/book/bad.json").write_bytes(sidecar)
    prepare(corpus, tmp_path / "out", subsets=["small"])
    ((path, told),) = refused(tmp_path / "out")
    assert path == "small/9/book/bad.flac" and (told.startswith(reason) if whole else told == reason)
    assert rows(tmp_path / "out" / "train.tsv") == rows_of(SEA)


def test_oddities_of_sidecars_that_do_no_harm(corpus, tmp_path, flac):
    """Another order, overlaps, whole numbers, ends just beyond the file, a byte order mark."""
    add(corpus, "small/9/book/odd", flac, [[45, 60.9], [-0.5, 11], [10.5, 12.0], [30, 45]])
    path = corpus / "small/9/book/odd.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    prepare(corpus, tmp_path / "out", subsets=["small"])
    odd = [row[1:] for row in rows(tmp_path / "out" / "train.tsv") if "/9/" in row[0]]
    assert odd == [(12.0, 0.0), (30.0, 30.0)]
    assert not refused(tmp_path / "out")


def test_files_that_are_no_chapters_and_chapters_without_a_file(corpus, tmp_path, flac):
    add(corpus, "small/8/book/lost", None)
    (corpus / "small" / "global").mkdir()
    (corpus / "small" / "global" / "duplicates.json").write_text("[]")
    (corpus / "small" / "stats.json").write_text("{}")
    shutil.copy(flac, corpus / "small" / "sample.flac")
    add(corpus, "small/name/book/speaker_without_number", flac)
    add(corpus, "small/8/book/gone", None)
    (corpus / "small/8/book/gone.flac").symlink_to("nowhere.flac")
    add(corpus, "small/8/book/12:30", flac)
    summary = prepare(corpus, tmp_path / "out", subsets=["small"])
    assert refused(tmp_path / "out") == [
        ("small/8/book/gone.flac", "dead link"),
        ("small/8/book/lost.flac", "no such file"),
        ("small/name/book/speaker_without_number.flac", "not in SPEAKER/BOOK/"),
        ("small/sample.flac", "not in SPEAKER/BOOK/"),
    ]
    assert rows(tmp_path / "out" / "train.tsv") == rows_of(SEA, "small/8/book/12:30")
    assert "found 6 clips" in summary


def test_segments_cut_to_files(corpus, tmp_path, capsys):
    dest, cut_dir = str(tmp_path / "out"), str(tmp_path / "cut")
    arguments = [str(corpus), "--dest", dest, "--valid-fraction", "0.4", "--cut", cut_dir]
    assert main(arguments) == 0
    cut = {}
    for name in ("train", "valid"):
        root, clips = parse_manifest((tmp_path / "out" / f"{name}.tsv").read_text("utf-8"))
        assert root == str(tmp_path / "cut") and clips
        cut.update((clip.path, clip.num_samples) for clip in clips)
    assert cut == {
        f"{stem}/{int(start * RATE_HZ):010}.flac": seconds * RATE_HZ
        for stem in (SEA, HOLLAND, OTHER)
        for seconds, start in ROWS
    }
    whole = soundfile.read(f"{corpus / SEA}.flac", dtype="int16")[0]
    piece = soundfile.read(tmp_path / "cut" / SEA / "0000483200.flac", dtype="int16")[0]
    assert np.array_equal(piece, whole[483200 : 483200 + 396800])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    arguments[-1] = str(corpus / "small" / "cut")
    capsys.readouterr()
    assert main(arguments) == 1
    assert "lies in" in capsys.readouterr().err


def test_speech_found_by_a_model(corpus, tmp_path, monkeypatch):
    """The model is asked for every file in turn, whatever its sidecar says."""
    asked = []

    def find_speech(root, clips, options):
        asked.append([clip.path for clip in clips])
        return [
            Refusal(clip.path, "cannot be decoded") if clip.path.startswith(HOLLAND) else [(1.0, 21.0)]
            for clip in clips
        ]

    monkeypatch.setattr(librilight, "find_speech", find_speech)
    Path(f"{corpus / SEA}.json").unlink()
    assert main([str(corpus), "--dest", str(tmp_path / "out"), "--vad"]) == 0
    assert asked == [[f"{OTHER}.flac", f"{HOLLAND}.flac", f"{SEA}.flac"]]
    assert rows(tmp_path / "out" / "train.tsv") == [(f"{stem}.flac", 20.0, 1.0) for stem in (OTHER, SEA)]
    assert refused(tmp_path / "out") == [(f"{HOLLAND}.flac", "cannot be decoded")]


def test_chapters_without_segments_count_as_refused(corpus, tmp_path, flac):
    add(corpus, "small/9/book/silent", flac, [])
    with pytest.raises(InputError, match=r"1 of 2 clips refused, more than --max-refused 0.4; .*no speech found"):
        prepare(corpus, tmp_path / "out", subsets=["small"], max_refused=0.4)
    prepare(corpus, tmp_path / "out", subsets=["small"], max_refused=0.5)


def test_nothing_usable(corpus, tmp_path):
    for path in corpus.rglob("*.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"none of 3 clips .*: no sidecar \(--vad finds speech without\)"):
        prepare(corpus, tmp_path / "out", valid_fraction=0.5)


def test_folders_without_audio(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no audio below .*: give the folder that holds small, medium or large"):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="nowhere does not exist"):
        prepare(corpus, tmp_path / "out", valid_dir=Path("nowhere"))
