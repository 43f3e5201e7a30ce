"""Tests of corpora/librispeech.py: LibriSpeech and Libri-Light's limited sets to manifests and labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from manifest_command import corpus_writer, parse_manifest, paths, refused, write_audio

from summarymixing_fairseq.corpora import librispeech
from summarymixing_fairseq.corpora.librispeech import held_out_speakers
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.data.manifest_check import check_folder
from summarymixing_fairseq.system.errors import InputError

prepare = corpus_writer("librispeech")

SPEAKERS = """\
; Some pipe(|) separated metadata about all LibriVox readers, whose work was used
; in the corpus.
;
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-360  | 25.03 | Kristin LeMoine
60   | M | train-clean-100  | 20.18 | |CBW|Simon
84   | F | dev-clean        | 8.02  | Christie Nowak
116  | M | dev-other        | 8.09  | Jon
1089 | M | test-clean       | 8.05  | Peter Bobbe
367  | M | test-other       | 8.09  | dev-clean is no name
"""


def add_chapter(part: Path, chapter: str, lines: dict[str, str]) -> None:
    """A chapter's folder; `chapter`: SPEAKER-CHAPTER, `lines`: text by number of the utterance."""
    folder = part / chapter.replace("-", "/")
    folder.mkdir(parents=True)
    for number in lines:
        write_audio(folder / f"{chapter}-{number}.flac")
    told = "".join(f"{chapter}-{number} {text}\n" for number, text in lines.items())
    (folder / f"{chapter}.trans.txt").write_text(told, "utf-8")


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Every part, with two utterances each, and the limited sets beside it."""
    root = tmp_path / "LibriSpeech"
    for part, chapter in {
        "train-clean-100": "19-198",
        "train-clean-360": "14-208",
        "train-other-500": "20-205",
        "dev-clean": "84-121123",
        "dev-other": "116-288045",
        "test-clean": "1089-134686",
        "test-other": "367-130732",
    }.items():
        add_chapter(root / part, chapter, {"0000": "IT'S A BOOK", "0001": part.replace("-", " ").upper()[:9]})
    (root / "SPEAKERS.TXT").write_text(SPEAKERS, "utf-8")
    limited = tmp_path / "librispeech_finetuning"
    for index in range(6):
        for kind, speaker in (("clean", 1000 + index), ("other", 2000 + index)):
            add_chapter(limited / "1h" / str(index) / kind, f"{speaker}-1", {"0003": "ONE HOUR"})
    for kind, speaker in (("clean", 3000), ("other", 3001)):
        add_chapter(limited / "9h" / kind, f"{speaker}-1", {"0003": "NINE HOURS"})
    (limited / "phones").mkdir()
    (limited / "phones" / "10h_phones.txt").write_text("1000-1-0003 1 2 3\n")
    return root


def test_files_of_a_whole_run(corpus, tmp_path):
    out = tmp_path / "out"
    summary = prepare(corpus, out, subset="100h")
    assert (out / "train.tsv").read_text("utf-8") == (
        f"{corpus}\ntrain-clean-100/19/198/19-198-0000.flac\t16000\ntrain-clean-100/19/198/19-198-0001.flac\t16000\n"
    )
    assert (out / "train.wrd").read_text("utf-8") == "IT'S A BOOK\nTRAIN CLE\n"
    assert (out / "train.ltr").read_text("utf-8") == "I T ' S | A | B O O K |\nT R A I N | C L E |\n"
    assert (out / "dict.ltr.txt").read_text("utf-8").splitlines()[:5] == ["| 5", "A 2", "I 2", "O 2", "T 2"]
    assert paths(out / "dev_other.tsv") == [f"dev-other/116/288045/116-288045-000{n}.flac" for n in (0, 1)]
    assert (out / "test_other.wrd").read_text("utf-8") == "IT'S A BOOK\nTEST OTHE\n"
    for ending in ("tsv", "wrd", "ltr"):
        assert (out / f"valid.{ending}").read_bytes() == (out / f"dev_clean.{ending}").read_bytes()
    assert {path.name for path in out.iterdir()} == {"dict.ltr.txt"} | {
        f"{split}.{ending}"
        for split in ("train", "valid", "dev_clean", "dev_other", "test_clean", "test_other")
        for ending in ("tsv", "wrd", "ltr")
    }
    assert "found 10 clips" in summary and "train: 2 clips" in summary and "valid is dev-clean" in summary
    assert "valid.tsv is dev_clean.tsv once more" in check_folder(out, ["train", "dev_clean", "valid"]).notes


def test_training_sets(corpus, tmp_path):
    speakers = {}
    for subset in librispeech.SUBSETS:
        prepare(corpus, tmp_path / subset, subset=subset)
        found = paths(tmp_path / subset / "train.tsv")
        assert found == sorted(found)
        speakers[subset] = {int(Path(path).name.split("-")[0]) for path in found}
    one_hour = {*range(1000, 1006), *range(2000, 2006)}
    assert speakers == {
        "960h": {19, 14, 20},
        "100h": {19},
        "10h": one_hour | {3000, 3001},
        "1h": one_hour,
        "10min": {1000, 2000},
    }


def test_limited_sets_share_a_root_with_the_corpus(corpus, tmp_path):
    prepare(corpus, tmp_path / "beside", subset="10min")
    root, clips = parse_manifest((tmp_path / "beside" / "train.tsv").read_text("utf-8"))
    assert (root, clips[0].path) == (str(tmp_path), "librispeech_finetuning/1h/0/clean/1000/1/1000-1-0003.flac")
    assert paths(tmp_path / "beside" / "valid.tsv")[0] == "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac"
    elsewhere = tmp_path / "deep" / "down" / "limited"
    shutil.move(tmp_path / "librispeech_finetuning", elsewhere)
    prepare(corpus, tmp_path / "named", subset="10min", limited_dir=elsewhere)
    assert paths(tmp_path / "named" / "train.tsv")[0] == "deep/down/limited/1h/0/clean/1000/1/1000-1-0003.flac"
    with pytest.raises(InputError, match=r"librispeech_finetuning does not exist: .* --limited"):
        prepare(corpus, tmp_path / "out", subset="1h")


def test_other_valid_part_and_folder_above(corpus, tmp_path):
    prepare(tmp_path, tmp_path / "out", subset="100h", valid="dev-other")
    assert (tmp_path / "out" / "valid.tsv").read_bytes() == (tmp_path / "out" / "dev_other.tsv").read_bytes()
    assert parse_manifest((tmp_path / "out" / "valid.tsv").read_text("utf-8"))[0] == str(corpus)


def test_lengths_are_for_train_alone(corpus, tmp_path):
    write_audio(corpus / "train-clean-100/19/198/19-198-0000.flac", 32000)
    prepare(corpus, tmp_path / "out", subset="100h", rules=AudioRules(min_seconds=1.5))
    assert paths(tmp_path / "out" / "train.tsv") == ["train-clean-100/19/198/19-198-0000.flac"]
    assert len(paths(tmp_path / "out" / "test_clean.tsv")) == 2


def test_what_cannot_be_used_is_refused_by_name(corpus, tmp_path):
    part = corpus / "train-clean-100"
    add_chapter(part, "30-1", {"0000": "", "0001": "FINE", "0002": "ROOM 101", "0003": "lower case"})
    folder = part / "30" / "1"
    with open(folder / "30-1.trans.txt", "a", encoding="utf-8", newline="") as file:
        file.write("\n  \nno id here\n30-1-0001 SAID TWICE\n30-1-0006 NO AUDIO\r\n")
        file.write("30-1-0007 DEAD LINK\n30-1-0008\tTABBED   TEXT \r\n")
    for name in ("30-1-0008.flac", "30-1-0009.flac"):
        write_audio(folder / name)
    (folder / "30-1-0001.wav").touch()
    (folder / "30-1-0007.flac").symlink_to("nowhere.flac")
    add_chapter(part, "31-1", {"0000": "A\nTEXT WITH NO ID"})
    (part / "31" / "1" / "31-1.trans.txt").write_bytes("31-1-0000 CAFÉ\n".encode("latin-1"))
    add_chapter(part, "32-1", {"0000": "BYTE ORDER MARK"})
    told = part / "32" / "1" / "32-1.trans.txt"
    told.write_bytes(b"\xef\xbb\xbf" + told.read_bytes().replace(b"\n", b"\r\n"))
    summary = prepare(corpus, tmp_path / "out", subset="100h")
    chapter = "train-clean-100/30/1/30-1"
    assert refused(tmp_path / "out") == [
        (f"{chapter}-0000.flac", "empty transcript"),
        (f"{chapter}-0001.wav", f"duplicate utterance id: the first: {chapter}-0001.flac"),
        (f"{chapter}-0002.flac", "transcript with more than A to Z and apostrophes: 1"),
        (f"{chapter}-0003.flac", "transcript with more than A to Z and apostrophes: l"),
        (f"{chapter}-0006.flac", "no such file"),
        (f"{chapter}-0007.flac", "dead link"),
        (f"{chapter}-0009.flac", "no transcript"),
        (f"{chapter}.trans.txt", "a line that does not begin with an utterance id: line 7"),
        (f"{chapter}.trans.txt", f"duplicate utterance id: two lines for {chapter}-0001.flac"),
        ("train-clean-100/31/1/31-1-0000.flac", "no transcript"),
        (
            "train-clean-100/31/1/31-1.trans.txt",
            f"transcripts that cannot be read: {part}/31/1/31-1.trans.txt is not UTF-8 text (byte 13): "
            "save it as UTF-8",
        ),
    ]
    texts = dict(zip(paths(tmp_path / "out/train.tsv"), (tmp_path / "out/train.wrd").read_text("utf-8").splitlines()))
    assert list(texts.items())[2:] == [
        ("train-clean-100/30/1/30-1-0001.flac", "FINE"),
        ("train-clean-100/30/1/30-1-0008.flac", "TABBED TEXT"),
        ("train-clean-100/32/1/32-1-0000.flac", "BYTE ORDER MARK"),
    ]
    assert "found 24 clips" in summary and "refused 2: no transcript" in summary


def test_the_same_utterance_in_two_parts(corpus, tmp_path):
    add_chapter(tmp_path / "librispeech_finetuning" / "9h" / "clean", "1000-1", {"0003": "ONCE MORE"})
    prepare(corpus, tmp_path / "out", subset="10h")
    first = "librispeech_finetuning/1h/0/clean/1000/1/1000-1-0003.flac"
    assert refused(tmp_path / "out") == [(first.replace("1h/0", "9h"), f"duplicate utterance id: the first: {first}")]
    assert paths(tmp_path / "out" / "train.tsv").count(first) == 1


def test_no_speaker_of_dev_or_test_is_trained_on(corpus, tmp_path):
    add_chapter(corpus / "train-clean-100", "1089-7", {"0000": "HEARD BEFORE"})
    prepare(corpus, tmp_path / "out", subset="100h")
    assert refused(tmp_path / "out") == [("train-clean-100/1089/7/1089-7-0000.flac", "speaker of dev or test")]
    assert "HEARD BEFORE" not in (tmp_path / "out" / "train.wrd").read_text("utf-8")
    assert len(paths(tmp_path / "out" / "test_clean.tsv")) == 2


def test_parts_that_are_not_there(corpus, tmp_path):
    shutil.rmtree(corpus / "test-other")
    summary = prepare(corpus, tmp_path / "out", subset="100h")
    assert f"test_other is not written: {corpus / 'test-other'} does not exist" in summary
    assert not (tmp_path / "out" / "test_other.tsv").exists()
    shutil.rmtree(corpus / "train-clean-360")
    with pytest.raises(InputError, match=r"train-clean-360 does not exist: --subset 960h needs it"):
        prepare(corpus, tmp_path / "out")
    shutil.rmtree(corpus / "dev-clean")
    with pytest.raises(InputError, match=r"dev-clean does not exist: .* choose another by --valid"):
        prepare(corpus, tmp_path / "out", subset="100h")


def test_nothing_to_train_with_is_an_error_that_says_why(corpus, tmp_path):
    for path in corpus.glob("train-clean-100/*/*/*.trans.txt"):
        path.unlink()
    with pytest.raises(InputError, match=r"train has no usable clip .*198-0000.flac: no transcript; .*refused.tsv"):
        prepare(corpus, tmp_path / "out", subset="100h")
    assert len(refused(tmp_path / "out")) == 2 and not (tmp_path / "out" / "train.tsv").exists()


def test_speakers_of_dev_and_test(corpus, tmp_path):
    assert held_out_speakers(corpus) == held_out_speakers(corpus / "SPEAKERS.TXT") == {"84", "116", "1089", "367"}
    marked = tmp_path / "marked.txt"
    marked.write_bytes(
        b"\xef\xbb\xbf" + SPEAKERS.replace("\n", "\r\n").encode() + b"\r\n84 | F | train-x | 1 | J\xe9r\r\n"
    )
    assert held_out_speakers(marked) == {"84", "116", "1089", "367"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"SPEAKERS.TXT does not exist: give LibriSpeech's SPEAKERS.TXT"),
        ("84 F dev-clean\n", r"SPEAKERS.TXT, line 1: ID \| SEX \| SUBSET"),
        ("; note\nname | F | dev-clean | 1 | 84\n", r"line 2: ID"),
        ("; note\n14 | F | train-clean-100 | 1 | K\n", r"names no speaker of dev or test"),
    ],
)
def test_tables_of_speakers_that_are_none(tmp_path, text, message):
    if text is not None:
        (tmp_path / "SPEAKERS.TXT").write_text(text)
    with pytest.raises(InputError, match=message):
        held_out_speakers(tmp_path)
