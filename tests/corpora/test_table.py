"""Tests of corpora/table.py: every form of a table, what is taken for what, and rows that cannot be used."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from manifest_command import (
    all_files,
    corpus_command,
    corpus_writer,
    labels,
    lines,
    parse_manifest,
    refused,
    write_audio,
)

from summarymixing_fairseq.commands.main import main as run
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("table")
prepare = corpus_writer("table")

RATE_HZ = 16_000
TEXTS = {"a.wav": "Hello, World!", "b.wav": "It’s ÉTÉ", "sub/c.flac": "good-bye"}
WORDS = {"a.wav": "hello world", "b.wav": "it's été", "sub/c.flac": "good bye"}


@pytest.fixture
def folder(tmp_path) -> Path:
    for number, name in enumerate(TEXTS):
        write_audio(tmp_path / "in" / name, 8_000 + number * 1_000)
    return tmp_path / "in"


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")
    return path


def all_words(dest: Path) -> dict[str, str]:
    return labels(dest, "train", "wrd") | (labels(dest, "valid", "wrd") if (dest / "valid.tsv").exists() else {})


def as_csv(folder: Path) -> Path:
    rows = [f'{name},"{text}",x\n' for name, text in TEXTS.items()]
    return write(folder / "list.csv", "path,sentence,age\n" + "".join(rows))


def as_semicolons(folder: Path) -> Path:
    rows = [f"{name};{text}\n" for name, text in TEXTS.items()]
    return write(folder / "list.csv", "\ufefffile_name;text\n" + "".join(rows))


def as_tsv(folder: Path) -> Path:
    rows = [f'{name}\t"{text}\n' for name, text in TEXTS.items()]  # a quotation mark without its pair
    return write(folder / "list.tsv", "Audio\tTranscript\r\n" + "".join(rows))


def as_nemo(folder: Path) -> Path:
    rows = [{"audio_filepath": str(folder / name), "duration": 0.5, "text": text} for name, text in TEXTS.items()]
    return write(folder / "elsewhere" / "list.json", "".join(json.dumps(row) + "\n" for row in rows))


def as_kaldi(folder: Path) -> Path:
    write(folder / "kaldi" / "wav.scp", "".join(f"utt{n} ../{name}\n" for n, name in enumerate(TEXTS)))
    write(folder / "kaldi" / "text", "".join(f"utt{n}\t{text}\n" for n, text in enumerate(TEXTS.values())))
    return folder / "kaldi"


def as_texts_beside(folder: Path) -> Path:
    for name, text in TEXTS.items():
        write((folder / name).with_suffix(".txt"), text + "\n")
    return folder


def as_cuts(folder: Path) -> Path:
    cuts = []
    for name, text in TEXTS.items():
        source = {"type": "file", "channels": [0], "source": name}
        recording = {"id": name, "sources": [source], "sampling_rate": RATE_HZ, "num_samples": 9, "duration": 0.5}
        supervision = {"id": name, "recording_id": name, "start": 0.0, "duration": 0.5, "text": text, "channel": 0}
        cut = {"id": name, "start": 0.0, "duration": 0.5, "channel": 0, "type": "MonoCut"}
        cuts.append({**cut, "supervisions": [supervision], "recording": recording})
    path = folder / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))
    return path


FORMS = (as_csv, as_semicolons, as_tsv, as_nemo, as_kaldi, as_texts_beside, as_cuts)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_manifest(form, folder, tmp_path):
    summary = prepare(form(folder), tmp_path / "out", valid_fraction=0)
    root, clips = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert root == str(folder) and {one.path: one.num_samples for one in clips} == {
        name: 8_000 + number * 1_000 for number, name in enumerate(TEXTS)
    }
    assert all_words(tmp_path / "out") == WORDS and not refused(tmp_path / "out")
    assert "columns: audio: " in summary and ", text: " in summary
    assert labels(tmp_path / "out", "train", "ltr")["a.wav"] == "h e l l o | w o r l d |"


def test_a_text_beside_that_is_not_utf8_is_refused_alone(folder, tmp_path):
    as_texts_beside(folder)
    first = next(iter(TEXTS))
    (folder / first).with_suffix(".txt").write_bytes("café".encode("latin-1"))
    prepare(folder, tmp_path / "out", valid_fraction=0)
    assert all_words(tmp_path / "out") == {name: words for name, words in WORDS.items() if name != first}
    assert "text that cannot be read: " in dict(refused(tmp_path / "out"))[str(Path(first).with_suffix(".txt"))]


@pytest.mark.parametrize("name", ["list.tsv", "kaldi/text"])
def test_a_carriage_return_within_a_text_ends_no_line(name, folder, tmp_path):
    """A text that is cut there would be learned as that of the whole clip."""
    audio = next(iter(TEXTS))
    row = f"{audio}\tone\rtwo three" if name == "list.tsv" else "utt one\rtwo three"
    write(folder / name, f"audio\ttext\n{row}\n" if name == "list.tsv" else f"{row}\n")
    write(folder / "kaldi" / "wav.scp", f"utt ../{audio}\n")
    prepare((folder / name).parent if "kaldi" in name else folder / name, tmp_path / "out", valid_fraction=0)
    assert all_words(tmp_path / "out") == {audio: "one two three"}


def test_ljspeech_takes_the_normalised_text(tmp_path):
    write_audio(tmp_path / "lj" / "wavs" / "LJ1.wav")
    write(tmp_path / "lj" / "metadata.csv", 'LJ1|In 1848, "printing"|In eighteen forty-eight, "printing"\n')
    prepare(tmp_path / "lj", tmp_path / "out", valid_fraction=0)
    assert all_words(tmp_path / "out") == {"LJ1.wav": "in eighteen forty eight printing"}


def test_kaldi_segments_and_speakers(folder, tmp_path):
    kaldi = as_kaldi(folder)
    write(
        kaldi / "segments", "s1 utt0 0.1 0.3\ns2 utt0 0.25 -1\ns3 utt9 0 1\ns4 utt1 0.2 0.1\ns5 utt1 0.1 9\ns6 utt1\n"
    )
    write(kaldi / "text", "s1 one\ns2 two\ns3 three\ns4 four\ns5 five\ns6 six\ns7 seven\n")
    write(kaldi / "utt2spk", "s1 ann\ns2 ann\n")
    prepare(kaldi, tmp_path / "out", valid_fraction=0)
    _, clips = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert [(one.path, one.offset, one.num_samples) for one in clips] == [
        ("a.wav", 1_600, 3_200),
        ("a.wav", 4_000, 4_000),
    ]
    assert lines(tmp_path / "out" / "train.wrd") == ["one", "two"]
    assert [(path, reason.split(":")[0]) for path, reason in refused(tmp_path / "out")] == [
        ("b.wav", "part beyond the end of its file"),
        ("s3", "recording is not in wav.scp"),
        ("s4", "start and end are no times in seconds"),
        ("s6", "line of segments is not"),
        ("s7", "utterance of text is not in segments"),
    ]


def test_a_cut_of_lhotse_is_a_row_for_each_supervision(folder, tmp_path):
    (cut, *_) = map(json.loads, gzip.decompress(as_cuts(folder).read_bytes()).splitlines())
    (supervision,) = cut["supervisions"]
    recording = cut["recording"]
    cut.update(start=0.1, duration=0.35)
    cut["supervisions"] = [
        {**supervision, "start": -0.05, "duration": 0.2, "text": "one", "speaker": "ann", "custom": {"mood": "glad"}},
        {**supervision, "start": 0.2, "duration": 0.1, "text": "two", "speaker": "bob", "custom": {"mood": "very sad"}},
    ]
    content = "".join(
        json.dumps(one) + "\n"
        for one in (
            cut,
            {**cut, "type": "MixedCut"},
            {**cut, "recording": {"sources": []}, "id": "x"},
            {**cut, "recording": {**recording, "sources": [{**recording["sources"][0], "channels": [0, 1]}]}},
            {**cut, "recording": {**recording, "transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}},
        )
    )
    prepare(write(folder / "c.jsonl", content), tmp_path / "out", valid_fraction=0, labels=["mood"])
    _, clips = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert [(one.offset, one.num_samples) for one in clips] == [(1_600, 2_400), (4_800, 1_600)]
    assert lines(tmp_path / "out" / "train.mood") == ["glad", "very_sad"]
    assert [reason.split(" (")[0].split(":")[0] for _, reason in refused(tmp_path / "out")] == [
        "cut of type MixedCut",
        "cut of lhotse without what a cut has",
        "cut of one channel of several",
        "cut of a recording with transforms",
    ]


def test_units(folder, tmp_path):
    table = write(folder / "t.csv", "audio,text\na.wav,你好 世界\nb.wav,g ʊ d  b aɪ\n")
    prepare(table, tmp_path / "chr", units="characters", valid_fraction=0)
    assert lines(tmp_path / "chr" / "train.chr")[0] == "你 好 世 界"
    assert not (tmp_path / "chr" / "train.ltr").exists()
    prepare(table, tmp_path / "phn", units="phones", valid_fraction=0)
    assert lines(tmp_path / "phn" / "train.phn")[1] == "g ʊ d b aɪ"
    assert "aɪ 1" in lines(tmp_path / "phn" / "dict.phn.txt")
    assert not (tmp_path / "phn" / "train.wrd").exists()
    prepare(as_csv(folder), tmp_path / "bpe", bpe=20, valid_fraction=0)
    assert {path.name for path in (tmp_path / "bpe").iterdir()} == {
        *("train.tsv", "train.wrd", "train.bpe20", "dict.bpe20.txt", "bpe20.model")
    }
    with pytest.raises(InputError, match="--bpe 20 and --units phones"):
        prepare(table, tmp_path / "x", units="phones", bpe=20)


def test_as_is_changes_spaces_and_composition_alone(folder, tmp_path):
    table = write(folder / "t.csv", "audio,text\na.wav,In  1848: E\u0301te\u0301!\nb.wav, \nsub/c.flac,a|b\n")
    prepare(table, tmp_path / "out", as_is=True, valid_fraction=0)
    assert all_words(tmp_path / "out") == {"a.wav": "In 1848: Été!"}
    assert refused(tmp_path / "out") == [
        ("t.csv line 3", "no words in transcript"),
        ("t.csv line 4", "text with |, which mark the ends of words in label files: a|b"),
    ]


def test_split_by_speaker_and_the_dictionary_is_of_train(tmp_path):
    rows = []
    for number in range(24):
        write_audio(tmp_path / "in" / f"{number}.wav", 1_600)
        rows.append(f"{number}.wav,{'abcdefgh'[number % 8]},speaker {number % 8}\n")
    table = write(tmp_path / "in" / "t.csv", "audio,text,spk\n" + "".join(rows))
    prepare(table, tmp_path / "out", valid_fraction=0.3)
    of = {split: labels(tmp_path / "out", split, "wrd") for split in ("train", "valid")}
    assert len(of["train"]) + len(of["valid"]) == 24 and of["valid"]
    assert not set(of["train"].values()) & set(of["valid"].values())  # a letter a speaker
    symbols = {line.split()[0] for line in lines(tmp_path / "out" / "dict.ltr.txt")}
    assert symbols == set(of["train"].values()) | {"|"}
    # as classes speakers are in both
    summary = prepare(table, tmp_path / "classes", valid_fraction=0.3, labels=["spk"], columns=["speaker=spk"])
    assert lines(tmp_path / "classes" / "train.spk")[0].startswith("speaker_") and "(not used" not in summary
    assert "train and valid are split by file: speakers are labels" in summary
    splits = [set(labels(tmp_path / "classes", split, "spk").values()) for split in ("train", "valid")]
    assert splits[0] & splits[1]


def test_one_speaker_is_split_by_file(folder, tmp_path):
    rows = "".join(f"{name},hello,ann\n" for name in TEXTS)
    summary = prepare(write(folder / "t.csv", "audio,text,speaker\n" + rows), tmp_path / "out", valid_fraction=0.3)
    assert "train and valid are split by file: there is one speaker" in summary
    assert (tmp_path / "out" / "valid.tsv").exists()


def test_a_column_of_splits(folder, tmp_path):
    rows = "a.wav,one,train,ann\nb.wav,two,Dev,ann\nsub/c.flac,three,later,bob\n"
    table = write(folder / "t.csv", "audio,text,split,speaker\n" + rows)
    summary = prepare(table, tmp_path / "out")
    assert labels(tmp_path / "out", "train", "wrd") == {"a.wav": "one"}
    assert labels(tmp_path / "out", "valid", "wrd") == {"b.wav": "two"}
    assert refused(tmp_path / "out") == [("t.csv line 4", "split that is not train, valid or test: later")]
    assert "WARNING: 1 speakers are in train and in another split" in summary


def test_rows_that_cannot_be_used_are_named(folder, tmp_path):
    rows = [
        *("a.wav,hello,glad", "a.wav,hello,glad", "b.wav,one,glad", "b.wav,two,glad"),
        *("sub/c.flac,...,glad", "sub/c.flac,in 7 days,glad", "sub/c.flac,good bye,", ",nothing,glad"),
        *("gone.wav,hello,glad", "a.wav", "sub/c,good bye,sad"),
    ]
    table = write(folder / "t.csv", "audio,text,mood\n" + "\n".join(rows))
    summary = prepare(table, tmp_path / "out", labels=["mood"], valid_fraction=0)
    assert all_words(tmp_path / "out") == {"a.wav": "hello", "sub/c.flac": "good bye"}
    assert lines(tmp_path / "out" / "train.mood") == ["glad", "sad"]
    found = {path: reason.split(":")[0] for path, reason in refused(tmp_path / "out")}
    assert found == {
        "gone.wav": "no such file",
        "t.csv line 3": "named several times",
        "t.csv line 4": "several texts, labels or splits for one clip",
        "t.csv line 5": "several texts, labels or splits for one clip",
        "t.csv line 6": "no words in transcript",
        "t.csv line 7": "number in text",
        "t.csv line 8": "row without mood",
        "t.csv line 9": "row without audio",
        "t.csv line 11": "line with another number of cells than the table has columns",
    }
    assert f"found {len(rows)} clips" in summary  # kept and refused


def test_two_rows_of_the_same_samples(folder, tmp_path):
    table = write(folder / "t.csv", "audio,text,start,end\na.wav,hello,,\na.wav,hello,0,0.5\n")
    prepare(table, tmp_path / "out", valid_fraction=0)
    assert len(lines(tmp_path / "out" / "train.wrd")) == 1
    assert refused(tmp_path / "out")[0][1].startswith("the same samples as another row: ")


def test_audio_of_several_folders_has_their_common_root(folder, tmp_path):
    write_audio(tmp_path / "other" / "d.wav")
    table = write(folder / "t.csv", f"audio,text\na.wav,one\n{tmp_path}/other/d.wav,two\n")
    prepare(table, tmp_path / "out", valid_fraction=0)
    root, clips = parse_manifest((tmp_path / "out" / "train.tsv").read_text())
    assert root == str(tmp_path) and [one.path for one in clips] == ["in/a.wav", "other/d.wav"]
    prepare(write(tmp_path / "t.csv", "audio,text\na.wav,one\n"), tmp_path / "o2", audio_dir=folder, valid_fraction=0)
    assert parse_manifest((tmp_path / "o2" / "train.tsv").read_text())[0] == str(folder)


def test_the_preview_shows_twenty_texts_and_writes_nothing(folder, tmp_path, capsys):
    rows = "".join(f"a.wav,Text {chr(65 + n)}!\n" for n in range(26)) + "b.wav,in 7 days\n"
    table = write(folder / "t.csv", "audio,text\n" + rows)
    assert main([str(table), "--dest", str(tmp_path / "out"), "--preview"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["columns: audio: audio, text: text", "26 texts are taken, 1 refused; nothing is written"]
    assert len(shown) == 2 + 2 * 20 and shown[2:4] == ["- Text A!", "+ text a"]
    assert shown[-2:] == ["- in 7 days", "+ refused: number in text"]
    assert not (tmp_path / "out").exists()


BAD = {
    "no table": ("t.xls", "", "no table by its ending"),
    "empty": ("t.csv", "\n", "is empty"),
    "no text column": ("t.csv", "audio,words\na.wav,x\n", "no column is known for text.*'audio', 'words'"),
    "no audio column": ("t.csv", "sound,text\na.wav,x\n", "no column is known for audio"),
    "a column twice": ("t.csv", "audio,text,text\na.wav,x,y\n", "column text is twice"),
    "quotes": ("t.csv", 'audio,text\na.wav,"x\n', "line .: no CSV"),
    "no JSON": ("t.jsonl", "hello\n", "no row that can be used; the first, t.jsonl line 1: line is not JSON"),
    "a JSON list": ("t.json", '[{"audio": "a.wav"}]\n', "line is no JSON object"),
    "half of a pair": ("t.jsonl", '{"audio": "a.wav", "text": "\\ud800"}\n', "no Unicode"),
    "times that nothing has": ("t.csv", "audio,text,start\na.wav,x,1e308\n", "start and end are no times in seconds"),
    "no duration": ("t.csv", "audio,text,duration\na.wav,x,long\n", "duration is no time in seconds"),
    "no gzip": ("t.jsonl.gz", "hello", "cannot be read"),
    "five cells": ("t.csv", "a|b|c|d|e\n", "LJSpeech's .* has 2 or 3"),
    "nothing is there": ("t.csv", "audio,text\ngone.wav,hello\n", "none of 1 clips .* is usable; the first, gone.wav"),
    "a command": ("wav.scp", "u sox a.wav -t wav - |\n", "u is a command .* not run"),
    "a name twice": ("wav.scp", "u a.wav\nu b.wav\n", "line 2: u is there twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_one_line(case, folder, tmp_path, capsys):
    name, content, message = BAD[case]
    path = write(folder / "table" / name, content)
    given = path.parent if name == "wav.scp" else path
    assert main([str(given), "--dest", str(tmp_path / "out")]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("summarymixing manifest: ")]
    assert re.search(message, line), line
    assert {path.name for path in (tmp_path / "out").glob("*.tsv")} <= {"refused.tsv"}


def test_bytes_that_are_no_utf8(folder, tmp_path):
    (folder / "t.csv").write_bytes(b"audio,text\na.wav,caf\xe9\n")
    with pytest.raises(InputError, match=r"t\.csv is not UTF-8 text \(byte 20\)"):
        prepare(folder / "t.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["words=text"]}, "--columns words=text: give ROLE=NAME"),
        ({"columns": ["text=gone"]}, "column 'gone' is not there: .*'path', 'sentence', 'age'"),
        ({"labels": ["mood"]}, "column 'mood' is not there"),
    ],
)
def test_options_that_do_not_fit(options, message, folder, tmp_path):
    with pytest.raises(InputError, match=message):
        prepare(as_csv(folder), tmp_path / "out", **options)


def test_a_part_without_a_sample(folder, tmp_path):
    table = write(folder / "t.csv", "audio,text,start,end\na.wav,one,0.1,0.10001\nb.wav,two,,\n")
    prepare(table, tmp_path / "out", valid_fraction=0)
    assert lines(tmp_path / "out" / "train.wrd") == ["two"]
    assert [reason.partition(":")[0] for _, reason in refused(tmp_path / "out")] == ["part without a sample"]


def test_a_label_that_would_take_the_place_of_another_file(folder, tmp_path):
    with pytest.raises(InputError, match="--labels tsv: no label file can have this ending"):
        prepare(write(folder / "t.csv", "audio,tsv\na.wav,x\n"), tmp_path / "out", labels=["tsv"])


def test_files_in_archives_have_no_form_in_json(folder, tmp_path, capsys):
    prepare(as_csv(folder), tmp_path / "out", valid_fraction=0)
    assert run(["manifest", "shards", str(tmp_path / "out"), "--dest", str(tmp_path / "shards")]) == 0
    assert main([str(tmp_path / "shards"), "--dest", str(tmp_path / "json"), "--to", "jsonl"]) == 1
    assert "it lies in an archive, and NeMo and lhotse take files" in capsys.readouterr().err


def test_there_and_back(folder, tmp_path):
    """Both forms of JSON lines give the manifest and labels that they were made of."""
    write_audio(folder / "stereo.wav", 8_000, 8_000)
    table = write(
        folder / "t.csv",
        "audio,text,start,end,mood\na.wav,one,0.1,0.3,glad\nb.wav,two,,,sad\nstereo.wav,three,,,sad\n",
    )
    prepare(table, tmp_path / "out", labels=["mood"], valid_fraction=0)
    summary = prepare(tmp_path / "out", tmp_path / "json", to="jsonl")
    assert summary.count(": 3 rows") == 2
    assert {path.name for path in (tmp_path / "json").iterdir()} == {"train.nemo.jsonl", "train.lhotse.jsonl"}
    first = json.loads((tmp_path / "json" / "train.nemo.jsonl").read_text().splitlines()[0])
    path = str(folder / "a.wav")
    assert first == {"audio_filepath": path, "offset": 0.1, "duration": 0.2, "text": "one", "mood": "glad"}
    cut = json.loads((tmp_path / "json" / "train.lhotse.jsonl").read_text().splitlines()[2])
    assert cut["recording"]["sampling_rate"] == 8_000 and cut["recording"]["num_samples"] == 8_000
    for form in ("nemo", "lhotse"):
        again = tmp_path / form
        prepare(tmp_path / "json" / f"train.{form}.jsonl", again, labels=["mood"], valid_fraction=0)
        assert all_files(again) == all_files(tmp_path / "out")
    (folder / "b.wav").unlink()
    with pytest.raises(InputError, match=r"b\.wav cannot be read"):
        prepare(tmp_path / "out", tmp_path / "gone", to="jsonl")
    assert not (tmp_path / "gone").exists()


def test_a_duration_that_is_not_the_files(tmp_path):
    """NeMo takes the first 2 s there; the whole file would have the text of its beginning."""
    write_audio(tmp_path / "long.wav", 5 * RATE_HZ)
    write_audio(tmp_path / "rounded.wav", 5 * RATE_HZ - 6_000)
    rows = [{"audio_filepath": "long.wav", "duration": 2.0, "text": "one"}]
    rows += [{"audio_filepath": "rounded.wav", "duration": 4, "text": "two"}]
    table = write(tmp_path / "list.json", "".join(json.dumps(row) + "\n" for row in rows))
    prepare(table, tmp_path / "out", valid_fraction=0)
    assert all_words(tmp_path / "out") == {"rounded.wav": "two"}
    (told,) = refused(tmp_path / "out")
    assert told[1].startswith("a duration that is not the file's: 2 s, the file 5.0 s: ")
