"""Tests of corpora/commonvoice.py on a small corpus laid out as Common Voice 11 is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import soundfile
from manifest_command import corpus_command, corpus_writer, lines, parse_manifest, paths, write_audio
from manifest_command import refused as all_refused

from summarymixing_fairseq.corpora.text.pieces import Pieces
from summarymixing_fairseq.corpora.writing.labels import format_dictionary
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("commonvoice")
prepare = corpus_writer("commonvoice")

COLUMNS = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale", "segment"]


def clip(number: int) -> str:
    return f"common_voice_cy_{number:08}.mp3"


def line(number: int, speaker: str, sentence: str, **other: str) -> str:
    fields = {"client_id": speaker, "path": clip(number), "sentence": sentence, "up_votes": "2", "down_votes": "0"}
    fields.update(locale="cy", **other)
    return "\t".join(fields.get(column, "") for column in COLUMNS)


def write_table(path: Path, *lines: str, header: str = "\t".join(COLUMNS), end: str = "\n") -> None:
    path.write_bytes("".join(one + end for one in [header, *lines]).encode())


def write_clip(root: Path, number: int, rate_hz: int = 48000, seconds: float = 0.3) -> None:
    write_audio(root / "clips" / clip(number), round(seconds * rate_hz), rate_hz)


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Welsh, with one of each oddity."""
    root = tmp_path / "cv-corpus-11.0-2022-09-21" / "cy"
    for number, rate_hz in ((2, 48000), (1, 32000), (3, 48000), (4, 48000), (8, 48000), (9, 48000), (10, 48000)):
        write_clip(root, number, rate_hz, seconds=0.3 + number / 100)
    for number in (21, 31, 32, 90, 91):
        write_clip(root, number)
    (root / "clips" / clip(5)).touch()
    (root / "clips" / clip(7)).write_bytes(b"this is no audio at all")
    write_table(
        root / "train.tsv",
        line(2, "ann", "Mae’r hen Ŵyl yn dod!"),
        line(1, "bob", '"Pwy wyt ti? meddai', age="twenties"),
        line(3, "bob", "Rhif 7 yw hwn"),
        line(4, "bob", "..."),
        line(5, "bob", "Dim byd"),
        line(6, "bob", "Ar goll"),
        line(7, "bob", "Wedi torri"),
        line(8, "tom", "Llais y prawf"),
        line(9, "ann", "Dwywaith yr un"),
        line(9, "ann", "Dwywaith yr un"),
        line(10, "ann", "Un peth"),
        line(10, "ann", "Peth arall"),
    )
    write_table(root / "dev.tsv", line(21, "dai", "Â'r ŷch i'r dŵr"))
    write_table(root / "test.tsv", line(32, "tom", 'Dyna "ni'), line(31, "tom", "Dyna 'fo'"))
    write_table(root / "other.tsv", line(90, "eve", "Heb ei wirio"))
    return root


def refused(dest: Path) -> list[tuple[str, str]]:
    """Path and reason of each refusal; clips by their names."""
    return [(path.removeprefix("clips/"), reason) for path, reason in all_refused(dest)]


def test_all_files_of_a_corpus(corpus, tmp_path):
    dest = tmp_path / "out"
    summary = prepare(corpus, dest)
    names = [f"{split}.{kind}" for split in ("train", "valid", "test") for kind in ("ltr", "tsv", "wrd")]
    assert sorted(path.name for path in dest.iterdir()) == sorted([*names, "dict.ltr.txt", "refused.tsv"])
    root, clips = parse_manifest((dest / "train.tsv").read_text("utf-8"))
    assert root == str(corpus)
    assert [one.path for one in clips] == [f"clips/{clip(number)}" for number in (1, 2, 9)]
    for one in clips:
        samples, rate_hz = soundfile.read(corpus / one.path)
        assert one.num_samples == math.ceil(len(samples) * 16000 / rate_hz)
    assert lines(dest / "train.wrd") == ["pwy wyt ti meddai", "mae'r hen ŵyl yn dod", "dwywaith yr un"]
    assert lines(dest / "train.ltr")[1] == "m a e ' r | h e n | ŵ y l | y n | d o d |"
    assert lines(dest / "valid.wrd") == ["â'r ŷch i'r dŵr"]
    assert lines(dest / "test.wrd") == ["dyna fo", "dyna ni"]
    assert paths(dest / "test.tsv") == [f"clips/{clip(n)}" for n in (31, 32)]
    assert (dest / "dict.ltr.txt").read_text("utf-8") == format_dictionary(lines(dest / "train.ltr"))
    refusals = refused(dest)
    path, reason = refusals.pop(4)
    assert path == clip(7) and reason.startswith("unreadable or truncated")
    assert refusals == [
        (clip(3), "number in text: Rhif 7 yw hwn"),
        (clip(4), "no words in transcript: ..."),
        (clip(5), "empty file"),
        (clip(6), "no such file"),
        (clip(8), "speaker is in dev or test"),
        (clip(9), "named several times: train.tsv line 11"),
        (clip(10), "named several times: train.tsv line 13"),
        (clip(10), "several transcripts for one clip: train.tsv"),
    ]
    assert "found 15 clips" in summary and "train: 3 clips" in summary
    assert "\n2 clips of clips/ are named by no table used: left alone" in summary
    assert "valid: not in dict.ltr.txt, as train lacks them (rows with them): c (1), â (1), ŷ (1)" in summary


def test_the_same_command_twice_changes_nothing(corpus, tmp_path):
    command = [str(corpus), "--dest", str(tmp_path / "out"), "--bpe", "40"]
    assert main([*command, "--workers", "1"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert main([*command, "--workers", "2"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_pieces_are_learnt_from_train_alone(corpus, tmp_path):
    prepare(corpus, tmp_path / "out", bpe=40)
    model = Pieces((tmp_path / "out" / "bpe40.model").read_bytes())
    for split in ("train", "valid", "test"):
        words, pieces = (lines(tmp_path / "out" / f"{split}.{kind}") for kind in ("wrd", "bpe40"))
        assert pieces == [model.encode(text) for text in words]
        assert [piece.replace(" ", "").replace("\u2581", " ").strip() for piece in pieces] == words
        assert not (tmp_path / "out" / f"{split}.ltr").exists()
    known = {row.split()[0] for row in lines(tmp_path / "out" / "dict.bpe40.txt")}
    assert known == {piece for row in lines(tmp_path / "out" / "train.bpe40") for piece in row.split()}
    write_table(corpus / "test.tsv", line(31, "tom", "geiriau newydd sbon"))
    prepare(corpus, tmp_path / "again", bpe=40)
    assert (tmp_path / "again" / "bpe40.model").read_bytes() == model.model


def test_validated_leaves_out_speakers_and_sentences_of_dev_and_test(corpus, tmp_path):
    for number in (50, 51, 52):
        write_clip(corpus, number)
    write_table(
        corpus / "validated.tsv",
        line(21, "dai", "Â'r ŷch i'r dŵr"),
        line(31, "tom", "Dyna 'fo'"),
        line(50, "ann", "dyna FO."),
        line(51, "tom", "Rhywbeth arall"),
        line(52, "eve", "Mae’r hen Ŵyl yn dod!"),
        line(2, "ann", "Mae’r hen Ŵyl yn dod!"),
    )
    summary = prepare(corpus, tmp_path / "out", train_table="validated")
    assert lines(tmp_path / "out" / "train.wrd") == ["mae'r hen ŵyl yn dod"] * 2
    assert paths(tmp_path / "out" / "train.tsv") == [f"clips/{clip(n)}" for n in (2, 52)]
    assert refused(tmp_path / "out") == [
        (clip(50), "sentence is in dev or test: dyna FO."),
        (clip(51), "speaker is in dev or test"),
    ]
    assert "found 7 clips" in summary


def test_a_sentence_may_stand_in_train_and_test_where_tables_are_those_of_the_release(corpus, tmp_path):
    write_table(corpus / "train.tsv", line(1, "bob", "dyna ni"))
    prepare(corpus, tmp_path / "out")
    assert lines(tmp_path / "out" / "train.wrd") == ["dyna ni"]


def test_a_clip_in_several_splits_stays_in_the_last(corpus, tmp_path):
    write_table(corpus / "train.tsv", line(1, "", "Un"), line(21, "", "Dau"), line(31, "", "Tri"))
    write_table(corpus / "dev.tsv", line(21, "", "Dau"), line(31, "", "Tri"))
    write_table(corpus / "test.tsv", line(31, "", "Tri"))
    prepare(corpus, tmp_path / "out")
    assert {split: lines(tmp_path / "out" / f"{split}.wrd") for split in ("train", "valid", "test")} == {
        "train": ["un"],
        "valid": ["dau"],
        "test": ["tri"],
    }
    assert refused(tmp_path / "out") == [
        (clip(21), "clip is in dev or test too"),
        (clip(31), "clip is in dev or test too"),
        (clip(31), "clip is in test too"),
    ]


def test_other_columns_bom_crlf_and_bad_lines(corpus, tmp_path):
    header = "\ufeffsentence\tlocale\tsentence_id\tpath\tclient_id\tvariant"
    write_table(
        corpus / "train.tsv",
        f"Un\u2028 \x0b dau\tcy\t1f\t{clip(2)}\tann\t",
        "",
        f"Tri\tcy\t2f\t{clip(1).removesuffix('.mp3')}",  # ends early, and without the ending of early releases
        "Pedwar\tcy\t3f",
        "Pump\tcy\t4f\t../clips/x.mp3\tann\t",
        f"Chwech\tcy\t5f\t{clip(3)}\tann\t\tmwy",
        "Saith\tcy\t6f\t12:30.mp3\tann\t",
        f"\tcy\t7f\t{clip(4)}\tann\t\t",
        "\t",
        header=header,
        end="\r\n",
    )
    prepare(corpus, tmp_path / "out")
    assert lines(tmp_path / "out" / "train.wrd") == ["tri", "un dau"]
    assert len(refused(tmp_path / "out")) == 5
    reasons = dict(refused(tmp_path / "out"))
    assert reasons.pop("12:30.mp3").startswith("name with a colon")
    assert reasons == {
        "train.tsv line 5": "line without a path",
        "../clips/x.mp3": "path leads out of clips/",
        clip(3): "line with more columns than the table: train.tsv line 7",
        clip(4): "no words in transcript",
    }


def test_a_line_that_ends_before_the_sentence(corpus, tmp_path):
    write_table(corpus / "train.tsv", f"ann\t{clip(1)}", line(2, "ann", "Un"))
    prepare(corpus, tmp_path / "out")
    assert refused(tmp_path / "out") == [(clip(1), "line ends before the sentence: train.tsv line 2")]


def test_the_language_decides_the_lower_case_of_i(corpus, tmp_path):
    header = "client_id\tpath\tsentence"
    for split in ("dev", "test"):
        (corpus / f"{split}.tsv").unlink()
    write_table(corpus / "train.tsv", f"ann\t{clip(1)}\tISPARTA İzmir", header=header)
    turkish = corpus.rename(corpus.parent / "tr")
    prepare(turkish, tmp_path / "out")
    assert lines(tmp_path / "out" / "train.wrd") == ["ısparta izmir"]
    write_table(turkish / "train.tsv", f"ann\t{clip(1)}\tISPARTA\teu", header=f"{header}\tlocale")
    prepare(turkish, tmp_path / "out", force=True)
    assert lines(tmp_path / "out" / "train.wrd") == ["isparta"]


def test_missing_dev_and_speakers_are_noted(corpus, tmp_path):
    (corpus / "dev.tsv").unlink()
    write_table(corpus / "test.tsv", f"{clip(31)}\tUn", header="path\tsentence")
    summary = prepare(corpus, tmp_path / "out")
    assert f"{corpus} has no dev.tsv: no split valid" in summary
    assert "test.tsv has no column client_id: speakers in several splits go unnoticed" in summary
    assert not (tmp_path / "out" / "valid.tsv").exists()


NEEDED = r"columns path and sentence are needed in its first line, found: "


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"client_id\tsentence\n", rf"train\.tsv: {NEEDED}client_id, sentence$"),
        (b"client_id,path,sentence\n", rf"train\.tsv: {NEEDED}client_id,path,sentence$"),
        (b"\n", rf"train\.tsv: {NEEDED}none$"),
        (b"path\tsentence\tup\tsentence\n", r"train\.tsv: column sentence is twice in its first line"),
        ("client_id\tpath\tŵ".encode("utf-16"), r"train\.tsv is not UTF-8 text \(byte 0\)"),
    ],
)
def test_tables_that_are_none(corpus, tmp_path, table, message):
    (corpus / "train.tsv").write_bytes(table)
    with pytest.raises(InputError, match=message):
        prepare(corpus, tmp_path / "out")


def test_a_folder_that_is_not_one_language(corpus, tmp_path):
    with pytest.raises(InputError, match=r"11\.0-2022-09-21 holds no train\.tsv: give the folder of one language"):
        prepare(corpus.parent, tmp_path / "out")
    (corpus / "clips").rename(corpus / "elsewhere")
    with pytest.raises(InputError, match=r"clips is missing: unpack the clips of the release there"):
        prepare(corpus, tmp_path / "out")


@pytest.mark.parametrize("bpe", [None, 40])
def test_nothing_usable(corpus, tmp_path, bpe):
    for split in ("dev", "test"):
        (corpus / f"{split}.tsv").unlink()
    write_table(corpus / "train.tsv", line(1, "ann", "99"))
    with pytest.raises(InputError, match=r"none of 1 clips .*00000001\.mp3: number in text"):
        prepare(corpus, tmp_path / "out", bpe=bpe)
