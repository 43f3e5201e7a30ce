"""Tests of corpora/voxceleb.py on a small tree in VoxCeleb1's layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from manifest_command import corpus_command, corpus_writer, labels, lengths, lines, refused, write_audio

from summarymixing_fairseq.corpora import voxceleb
from summarymixing_fairseq.corpora.writing.labels import format_dictionary
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.corpora.writing.splits import stable_fraction
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("voxceleb")
prepare = corpus_writer("voxceleb")

TRAIN_VIDEOS = {
    "id10001": ["1zcIwhmdeo4", "7gWzIy6yIIk", "J9lHsKG98U8", "Y8hIVOBuels"],
    "id10002": ["0_laIeN-Q44", "-xmhKUHPJ4Q"],
    "id11251": ["onlyonevid1"],
}
TEST_CLIPS = [
    "id10270/5r0dWxy17C8/00001",
    "id10270/5r0dWxy17C8/00002",
    "id10270/x6uYqmx31kE/00001",
    "id10309/0b1inHMAr6o/00001",
    "id10309/-noTrialHas/00001",
]
TRIALS = [
    "1 id10270/x6uYqmx31kE/00001.wav id10270/5r0dWxy17C8/00001.wav",
    "0 id10270/x6uYqmx31kE/00001.wav id10309/0b1inHMAr6o/00001.wav",
    "1 id10270/x6uYqmx31kE/00001.wav id10270/5r0dWxy17C8/00002.wav",
]
HALF = 0.5


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Both archives as they unpack, each to a folder of its own, and both lists."""
    root = tmp_path / "VoxCeleb1"
    for speaker, videos in TRAIN_VIDEOS.items():
        for number, video in enumerate(videos):
            for clip in (1, 2):
                path = root / f"vox1_dev_wav/wav/{speaker}/{video}/{clip:05}.wav"
                write_audio(path, 16000 + 10 * number + clip)
    for key in TEST_CLIPS:
        write_audio(root / f"vox1_test_wav/wav/{key}.wav", 20000)
    (root / "veri_test.txt").write_text("".join(f"{line}\n" for line in TRIALS))
    (root / "veri_test2.txt").write_text("".join(f"{line}\n" for line in TRIALS[:2]))
    return root


def videos(path: Path) -> set[str]:
    return {"/".join(row.split("/")[-3:-1]) for row in lengths(path)}


def test_every_file(corpus, tmp_path):
    dest = tmp_path / "out"
    summary = prepare(corpus, dest, valid_fraction=HALF)
    expected = {
        f"{speaker}/{video}"
        for speaker, names in TRAIN_VIDEOS.items()
        for video in names
        if stable_fraction(f"{speaker}/{video}") < HALF
        and video != max(names, key=lambda name: stable_fraction(f"{speaker}/{name}"))
    }
    everything = {f"{speaker}/{video}" for speaker, names in TRAIN_VIDEOS.items() for video in names}
    assert expected and videos(dest / "valid.tsv") == expected
    assert videos(dest / "train.tsv") == everything - expected
    for name in ("train", "valid"):
        told = labels(dest, name, "speaker")
        assert list(told) == sorted(told) and all(path.split("/")[-3] == speaker for path, speaker in told.items())
    train_speakers = lines(dest / "train.speaker")
    assert set(lines(dest / "valid.speaker")) <= set(train_speakers) == TRAIN_VIDEOS.keys()
    assert (dest / "dict.speaker.txt").read_text() == format_dictionary(train_speakers)
    test = [f"vox1_test_wav/wav/{key}.wav" for key in sorted(TEST_CLIPS[:4])]
    assert lengths(dest / "test.tsv") == dict.fromkeys(test, 20000)
    trials = [line.replace(" id", "\tvox1_test_wav/wav/id") for line in TRIALS]
    assert lines(dest / "test.trials") == trials
    assert lines(dest / "test_cleaned.trials") == trials[:2]
    assert dict(refused(dest)) == {"vox1_test_wav/wav/id10309/-noTrialHas/00001.wav": "test speaker's clip in no trial"}
    assert {path.name for path in dest.iterdir()} == {
        *("train.tsv", "train.speaker", "valid.tsv", "valid.speaker", "dict.speaker.txt", "refused.tsv"),
        *("test.tsv", "test.trials", "test_cleaned.trials"),
    }
    assert "found 19 clips" in summary
    assert "test.trials: 3 trials\n" in summary and "test_cleaned.trials: 2 trials\n" in summary
    assert "speakers: 3 in train, " in summary and " 2 in test" in summary
    assert "VoxCeleb1 has 1,211 train and 40 test speakers" in summary


def test_one_folder_for_both_archives_and_another_ending(corpus, tmp_path):
    merged = tmp_path / "merged"
    for archive in ("vox1_dev_wav", "vox1_test_wav"):
        for path in (corpus / archive).rglob("*.wav"):
            target = merged / "wav" / path.relative_to(corpus / archive / "wav")
            write_audio(target.with_suffix(".flac"), soundfile.read(path)[0])
    prepare(merged, tmp_path / "out", trials_dir=corpus, valid_fraction=HALF)
    assert lines(tmp_path / "out" / "test.trials")[0] == (
        "1\twav/id10270/x6uYqmx31kE/00001.flac\twav/id10270/5r0dWxy17C8/00001.flac"
    )
    prepare(corpus, tmp_path / "apart", valid_fraction=HALF)
    assert videos(tmp_path / "out" / "valid.tsv") == videos(tmp_path / "apart" / "valid.tsv")


@pytest.mark.parametrize("fraction", [0.3, 0.999])
def test_no_speaker_is_in_valid_alone_and_no_video_in_both(corpus, tmp_path, fraction):
    prepare(corpus, tmp_path, valid_fraction=fraction)
    train, valid = videos(tmp_path / "train.tsv"), videos(tmp_path / "valid.tsv")
    assert not train & valid
    assert {video.split("/")[0] for video in train} == TRAIN_VIDEOS.keys()
    if fraction > 0.9:
        assert len(train) == len(TRAIN_VIDEOS)  # all but one video of each


def test_a_new_speaker_moves_no_other(corpus, tmp_path):
    prepare(corpus, tmp_path / "before", valid_fraction=HALF)
    for video in "abcdef":
        write_audio(corpus / f"vox1_dev_wav/wav/id10500/{video}/00001.wav")
    prepare(corpus, tmp_path / "after", valid_fraction=HALF)
    for name in ("train.tsv", "valid.tsv"):
        assert lengths(tmp_path / "before" / name).items() <= lengths(tmp_path / "after" / name).items()


def test_trials_of_clips_that_are_missing_or_refused_are_left_out_and_counted(corpus, tmp_path):
    (corpus / "veri_test2.txt").unlink()
    wav = corpus / "vox1_test_wav/wav"
    (wav / "id10270/5r0dWxy17C8/00001.wav").unlink()
    (wav / "id10309/0b1inHMAr6o/00001.wav").write_bytes(b"")
    summary = prepare(corpus, tmp_path, valid_fraction=HALF)
    folder = "vox1_test_wav/wav/id10270"
    assert lines(tmp_path / "test.trials") == [f"1\t{folder}/x6uYqmx31kE/00001.wav\t{folder}/5r0dWxy17C8/00002.wav"]
    assert not (tmp_path / "test_cleaned.trials").exists()
    assert dict(refused(tmp_path)) == {
        "id10270/5r0dWxy17C8/00001.wav": "no such file (a trial names it)",
        "vox1_test_wav/wav/id10309/0b1inHMAr6o/00001.wav": "empty file",
        "vox1_test_wav/wav/id10309/-noTrialHas/00001.wav": "test speaker's clip in no trial",
    }
    assert "1 trials; 2 left out: a clip is missing or refused, e.g. id10270/5r0dWxy17C8/00001" in summary
    assert "found 19 clips" in summary  # 18 there, one only named


def test_files_that_are_no_clips_of_voxceleb1_are_refused(corpus, tmp_path):
    write_audio(corpus / "wav/id10001/1zcIwhmdeo4/00001.wav")
    write_audio(corpus / "vox2/id00012/video/00001.wav")
    write_audio(corpus / "noise.wav")
    prepare(corpus, tmp_path, valid_fraction=HALF)
    reasons = dict(refused(tmp_path))
    assert reasons["wav/id10001/1zcIwhmdeo4/00001.wav"] == (
        "clip is there twice: vox1_dev_wav/wav/id10001/1zcIwhmdeo4/00001.wav"
    )
    for path in ("vox2/id00012/video/00001.wav", "noise.wav"):
        assert reasons[path] == "not in VoxCeleb1's folders (id1<4 digits>/<video>/<clip>)"
    assert len(reasons) == 4
    assert "wav/id10001/1zcIwhmdeo4/00001.wav" not in lengths(tmp_path / "train.tsv")


def test_allowed_lengths_are_for_train_and_valid_alone(corpus, tmp_path):
    prepare(corpus, tmp_path, valid_fraction=HALF, rules=AudioRules(max_seconds=16021 / 16000))
    found = [*lengths(tmp_path / "train.tsv").values(), *lengths(tmp_path / "valid.tsv").values()]
    assert max(found) == 16021 and len(found) == 11
    assert len(lengths(tmp_path / "test.tsv")) == 4
    assert sum(reason.startswith("longer than") for reason in dict(refused(tmp_path)).values()) == 3


def test_a_video_without_a_usable_clip_does_not_hold_the_place_of_its_speaker_in_train(corpus, tmp_path):
    names = TRAIN_VIDEOS["id10002"]
    kept = max(names, key=lambda name: stable_fraction(f"id10002/{name}"))
    for path in (corpus / "vox1_dev_wav/wav/id10002" / kept).iterdir():
        path.write_bytes(b"")
    prepare(corpus, tmp_path, valid_fraction=0.999)
    (other,) = set(names) - {kept}
    assert f"id10002/{other}" in videos(tmp_path / "train.tsv")


def test_lists_with_byte_order_mark_crlf_and_blank_lines(corpus, tmp_path):
    prepare(corpus, tmp_path / "plain", valid_fraction=HALF)
    (corpus / "veri_test.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(TRIALS).encode())
    prepare(corpus, tmp_path / "other", valid_fraction=HALF)
    for name in ("test.trials", "test.tsv"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 id10270/a/1.wav id10270/b/1.wav", r"veri_test2\.txt, line 4: .*is needed: download it again"),
        ("1 id10270/a/1.wav", "line 4: .*is needed"),
        ("1 id10270/a/1.wav id10270/b/1.wav id10270/c/1.wav", "line 4: .*is needed"),
        ("id10270/a/1.wav id10270/b/1.wav 1", "line 4: .*is needed"),
        ("1 id10270/1.wav id10270/b/1.wav", "line 4: .*is needed"),
        ("1 Eartha_Kitt/x6uYqmx31kE_0000001.wav Eartha_Kitt/8jEAjG6SegY_0000008.wav", "line 4: .*is needed"),
        ("0 id10001/a/1.wav id10270/b/1.wav", "line 4: id10001 is trained on: give VoxCeleb1's own list"),
        (b"\n\n", "holds no trial: download it again"),
        (b"1 \xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_list_that_is_damaged(corpus, tmp_path, line, message):
    """`line`: added to a list or, as bytes, the whole list."""
    content = line if isinstance(line, bytes) else "\n".join([*TRIALS, line]).encode()
    (corpus / "veri_test2.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        prepare(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_list_at_all(corpus, tmp_path, capsys):
    for name in voxceleb.TRIALS:
        (corpus / name).unlink()
    assert main([str(corpus), "--dest", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "holds neither veri_test.txt nor veri_test2.txt: put them there" in error and "--trials" in error


def test_a_list_without_a_usable_trial(corpus, tmp_path):
    (corpus / "veri_test2.txt").write_text("1 id10271/a/00001.wav id10271/b/00001.wav")
    with pytest.raises(InputError, match=r"no trial of veri_test2\.txt has both .*unpack vox1_test_wav\.zip"):
        prepare(corpus, tmp_path / "out")


def test_the_test_archive_alone(corpus, tmp_path):
    (corpus / "vox1_dev_wav").rename(tmp_path / "elsewhere")
    summary = prepare(corpus, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("test.tsv", "test.trials", "test_cleaned.trials", "refused.tsv"),
    }
    assert "no clip of a train speaker: unpack vox1_dev_wav.zip too" in summary


def test_a_fraction_that_draws_no_video_is_noted(corpus, tmp_path):
    assert "valid is not written: no video was drawn" in prepare(corpus, tmp_path / "out", valid_fraction=1e-9)
    assert "valid is not written" not in prepare(corpus, tmp_path / "none", valid_fraction=0)
    assert not (tmp_path / "none" / "valid.tsv").exists()
