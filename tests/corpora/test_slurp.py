"""Tests of corpora/slurp.py: one row for each recording, labels, official splits, damaged annotations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from manifest_command import corpus_command, corpus_writer, labels, paths, refused, write_audio

from summarymixing_fairseq.system.errors import InputError

main = corpus_command("slurp")
prepare = corpus_writer("slurp")

NUM_SAMPLES = 4000
REAL, SYNTH = "audio/slurp_real", "audio/slurp_synth"


def entry(slurp_id: int, sentence: str, scenario_action: str, *files: str, **fields) -> dict:
    """An entry with all fields of the official annotations."""
    scenario, action = scenario_action.split("_", 1)
    return {
        "slurp_id": slurp_id,
        "sentence": sentence,
        "sentence_annotation": sentence,
        "intent": scenario_action,
        "action": action,
        "tokens": [{"surface": word, "id": index} for index, word in enumerate(sentence.split())],
        "scenario": scenario,
        "recordings": [{"file": name, "wer": 0.0, "ent_wer": None, "status": "correct"} for name in files],
        "entities": [],
        **fields,
    }


ENTRIES = {
    "train": [
        entry(4318, "wake me up at ten", "alarm_set", "audio-15-headset.flac", "audio-15.flac", "audio--14.flac"),
        entry(5584, "turn off joe's 2 lights", "iot_hue_lightoff", "audio-16.flac"),
        entry(77, "turn off the plug", "iot_wemo_off", "audio-17.flac", intent="wemo_off"),
    ],
    "devel": [entry(13439, "how old is j. k. rowling", "qa_factoid", "audio-20.flac")],
    "test": [entry(931, "wake me up", "alarm_set", "audio-31.flac", "audio-30-headset.flac")],
    "train_synthetic": [entry(4318, "wake me up at ten", "alarm_set", "audio-900-1.flac", "audio-900-2.flac")],
}
USERS = {
    "audio-15-headset.flac": "FO-460",
    "audio-15.flac": "FO-460",
    "audio--14.flac": "UNK-323",
    "audio-20.flac": "FO-460",
    "audio-31.flac": "ME-101",
    "audio-30-headset.flac": "UNK-323",
}


def jsonl(entries) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in entries).encode()


@pytest.fixture
def corpus(tmp_path) -> Path:
    """The official repository, its audio unpacked."""
    root = tmp_path / "slurp"
    (root / "dataset" / "slurp").mkdir(parents=True)
    for name, entries in ENTRIES.items():
        (root / "dataset" / "slurp" / f"{name}.jsonl").write_bytes(jsonl(entries))
        for one in entries:
            for recording in one["recordings"]:
                write_audio(root / (SYNTH if "synthetic" in name else REAL) / recording["file"], NUM_SAMPLES)
    recordings = {name: {"ansid": 1, "recid": 2, "status": "correct", "usrid": user} for name, user in USERS.items()}
    metadata = {"4318": {"nlub_id": 5027, "recordings": recordings, "status": "correct", "userid_amt": "682"}}
    (root / "dataset" / "slurp" / "metadata.json").write_text(json.dumps(metadata))
    return root


def annotations(corpus: Path, name: str) -> Path:
    return corpus / "dataset" / "slurp" / f"{name}.jsonl"


def rows(dest: Path, split: str, kind: str = "intent") -> dict[str, str]:
    """Label of each clip of a split, by its file name."""
    return {Path(path).name: label for path, label in labels(dest, split, kind).items()}


def test_every_recording_is_a_row_with_its_labels(corpus, tmp_path):
    dest = tmp_path / "out"
    summary = prepare(corpus, dest)
    names = ("audio--14.flac", "audio-15-headset.flac", "audio-15.flac", "audio-16.flac", "audio-17.flac")
    assert (dest / "train.tsv").read_text() == f"{corpus}\n" + "".join(f"{REAL}/{name}\t4000\n" for name in names)
    assert (dest / "train.scenario").read_text() == "alarm\nalarm\nalarm\niot\niot\n"
    assert (dest / "train.action").read_text() == "set\nset\nset\nhue_lightoff\nwemo_off\n"
    assert (dest / "train.intent").read_text() == "alarm_set\nalarm_set\nalarm_set\niot_hue_lightoff\niot_wemo_off\n"
    assert (dest / "dict.scenario.txt").read_text() == "alarm 3\niot 2\n"
    assert (dest / "dict.intent.txt").read_text() == "alarm_set 3\niot_hue_lightoff 1\niot_wemo_off 1\n"
    assert rows(dest, "valid") == {"audio-20.flac": "qa_factoid"}
    assert rows(dest, "test") == {"audio-30-headset.flac": "alarm_set", "audio-31.flac": "alarm_set"}
    kinds = ("tsv", "scenario", "action", "intent")
    splits = {f"{split}.{kind}" for split in ("train", "valid", "test") for kind in kinds}
    assert {path.name for path in dest.iterdir()} == splits | {f"dict.{kind}.txt" for kind in kinds[1:]}
    assert "found 8 clips" in summary and "refused" not in summary
    assert "\n1 entries have another intent than the scenario_action written" in summary
    assert "train: 2 classes of scenario, the full corpus has 18" in summary
    assert "train: 3 classes of action, the full corpus has 46" in summary
    assert "valid: not in dict.scenario.txt, as train lacks them (rows with them): qa (1)" in summary
    assert "valid: 1 of 1 speakers are in train too (official splits)" in summary
    assert "test: 1 of 2 speakers are in train too (official splits)" in summary


def test_annotations_and_audio_side_by_side(corpus, tmp_path):
    prepare(corpus, tmp_path / "official")
    for path in (*(corpus / "dataset" / "slurp").iterdir(), *(corpus / "audio").iterdir()):
        path.rename(corpus / path.name)
    for name in ("dataset", "audio"):
        shutil.rmtree(corpus / name)
    prepare(corpus, tmp_path / "flat")
    official, flat = ((tmp_path / name / "train.tsv").read_text() for name in ("official", "flat"))
    assert flat == official.replace("audio/slurp_real", "slurp_real")


def test_synthetic_speech_is_added_to_train(corpus, tmp_path):
    dest = tmp_path / "out"
    assert main([str(corpus), "--dest", str(dest), "--synthetic"]) == 0
    assert paths(dest / "train.tsv")[-2:] == [f"{SYNTH}/audio-900-1.flac", f"{SYNTH}/audio-900-2.flac"]
    assert len(rows(dest, "train")) == 7 and len(rows(dest, "train", "action")) == 7
    assert rows(dest, "train")["audio-900-2.flac"] == "alarm_set"
    assert len(rows(dest, "test")) == 2


def test_transcripts(corpus, tmp_path):
    dest = tmp_path / "out"
    assert main([str(corpus), "--dest", str(dest), "--text"]) == 0
    assert rows(dest, "train", "wrd")["audio-16.flac"] == "TURN OFF JOE'S TWO LIGHTS"
    assert (dest / "valid.wrd").read_text() == "HOW OLD IS J K ROWLING\n"
    assert (dest / "test.ltr").read_text() == "W A K E | M E | U P |\n" * 2
    assert rows(dest, "train")["audio-16.flac"] == "iot_hue_lightoff"


def test_sentences_of_uncertain_spelling_matter_to_transcripts_only(corpus, tmp_path):
    train = [
        entry(1, "what is 500 in euro", "qa_currency", "audio-15.flac"),
        entry(2, "", "qa_factoid", "audio-16.flac"),
        entry(3, "play it", "play_music", "audio-17.flac"),
        {key: value for key, value in entry(4, "", "qa_maths", "audio--14.flac").items() if key != "sentence"},
    ]
    annotations(corpus, "train").write_bytes(jsonl(train))
    (corpus / REAL / "audio-15-headset.flac").unlink()
    prepare(corpus, tmp_path / "labels")
    assert len(rows(tmp_path / "labels", "train")) == 4
    prepare(corpus, tmp_path / "text", text=True)
    assert rows(tmp_path / "text", "train", "wrd") == {"audio-17.flac": "PLAY IT"}
    assert refused(tmp_path / "text") == [
        (f"{REAL}/audio--14.flac", "entry without sentence: train.jsonl line 4"),
        (f"{REAL}/audio-15.flac", "text: a number that can be read in several ways: what is 500 in euro"),
        (f"{REAL}/audio-16.flac", "text: no words"),
    ]


def test_damaged_lines(corpus, tmp_path):
    whole = [json.dumps(one) for one in ENTRIES["train"]]
    without_action = {key: value for key, value in ENTRIES["train"][2].items() if key != "action"}
    damaged = [
        "\ufeff" + whole[0],
        "",
        whole[1][:-40],
        "[1, 2]",
        json.dumps(without_action),
        json.dumps(entry(80, "\u2028", "qa_factoid", "audio-16.flac"), ensure_ascii=False),
        json.dumps(entry(81, "two words", "qa_factoid", "audio-40.flac", scenario="two words", action="")),
        json.dumps(entry(82, "none", "qa_factoid")),
        json.dumps(entry(83, "bad name", "qa_factoid", "../../elsewhere.flac", "audio-41.flac")),
        json.dumps(entry(84, "a string", "qa_factoid", recordings=["audio-40.flac"])),
        json.dumps(entry(85, "none", "qa_factoid", recordings=None)),
    ]
    write_audio(corpus / REAL / "audio-41.flac", NUM_SAMPLES)
    annotations(corpus, "train").write_bytes("\r\n".join(damaged).encode() + b"\r\n\xff\xfe{\n")
    dest = tmp_path / "out"
    summary = prepare(corpus, dest)
    assert rows(dest, "train") == {
        **dict.fromkeys(("audio--14.flac", "audio-15-headset.flac", "audio-15.flac"), "alarm_set"),
        **dict.fromkeys(("audio-16.flac", "audio-41.flac"), "qa_factoid"),
    }
    place = "train.jsonl line"
    found = dict(refused(dest))
    assert found.pop(f"{place} 3").startswith("line is not JSON: ")
    assert found.pop(f"{place} 12").startswith("line is not JSON: ")
    assert found == {
        f"{place} 4": "line is no JSON object",
        f"{place} 5": f"entry without action: {REAL}/audio-17.flac",
        f"{place} 7": f"entry without scenario and action: {REAL}/audio-40.flac",
        **{f"{place} {number}": "entry without a list of recordings" for number in (8, 11)},
        f"{place} 9": "recording whose name cannot be used: '../../elsewhere.flac'",
        f"{place} 10": "recording whose name cannot be used: None",
    }
    assert "refused 2: entry without a list of recordings, e.g. train.jsonl line 8" in summary
    assert "found 17 clips" in summary


def test_audio_missing_broken_and_not_named(corpus, tmp_path):
    (corpus / REAL / "audio-15.flac").unlink()
    (corpus / REAL / "audio-16.flac").write_bytes(b"")
    (corpus / REAL / "audio-31.flac").unlink()
    (corpus / REAL / "audio-31.flac").symlink_to("nowhere.flac")
    write_audio(corpus / REAL / "audio-99.flac", NUM_SAMPLES)
    write_audio(corpus / REAL / ".audio-98.flac", NUM_SAMPLES)
    prepare(corpus, tmp_path / "out")
    assert refused(tmp_path / "out") == [
        (f"{REAL}/audio-15.flac", "no such file"),
        (f"{REAL}/audio-16.flac", "empty file"),
        (f"{REAL}/audio-31.flac", "dead link"),
        (f"{REAL}/audio-99.flac", "in no .jsonl"),
    ]
    assert len(rows(tmp_path / "out", "train")) == 3


def test_a_recording_in_two_splits_stays_in_the_held_out_one(corpus, tmp_path):
    train = [*ENTRIES["train"], entry(90, "again", "qa_factoid", "audio-20.flac", "audio-31.flac")]
    annotations(corpus, "train").write_bytes(jsonl(train))
    annotations(corpus, "devel").write_bytes(
        jsonl([*ENTRIES["devel"], entry(91, "wake me up", "alarm_set", "audio-31.flac")])
    )
    dest = tmp_path / "out"
    prepare(corpus, dest)
    assert rows(dest, "valid") == {"audio-20.flac": "qa_factoid"}
    assert rows(dest, "test") == {"audio-30-headset.flac": "alarm_set", "audio-31.flac": "alarm_set"}
    assert len(rows(dest, "train")) == 5
    assert refused(dest) == [
        ("devel.jsonl line 2", f"recording of test named in valid too: {REAL}/audio-31.flac"),
        ("train.jsonl line 4", f"recording of test named in train too: {REAL}/audio-31.flac"),
        ("train.jsonl line 4", f"recording of valid named in train too: {REAL}/audio-20.flac"),
    ]


def test_a_recording_named_twice_in_a_split(corpus, tmp_path):
    train = [
        entry(1, "write to parisa", "email_sendemail", "audio-15.flac", "audio-16.flac", "audio-17.flac"),
        entry(2, "write to aran", "email_sendemail", "audio-15.flac"),
        entry(3, "who is aran", "qa_factoid", "audio-16.flac"),
        entry(4, "write to parisa", "email_sendemail", "audio-17.flac"),
        entry(5, "and once more", "alarm_set", "audio--14.flac", "audio-15-headset.flac"),
    ]
    annotations(corpus, "train").write_bytes(jsonl(train))
    place = "train.jsonl line"
    prepare(corpus, tmp_path / "labels")
    assert rows(tmp_path / "labels", "train") == {
        **dict.fromkeys(("audio-15.flac", "audio-17.flac"), "email_sendemail"),
        **dict.fromkeys(("audio--14.flac", "audio-15-headset.flac"), "alarm_set"),
    }
    different = (f"{REAL}/audio-16.flac", f"named twice, with different labels: {place} 1, {place} 3")
    same = [
        (f"{place} {number}", f"recording named twice: {REAL}/audio-{name}.flac") for number, name in ((2, 15), (4, 17))
    ]
    assert refused(tmp_path / "labels") == [different, *same]
    prepare(corpus, tmp_path / "text", text=True)
    assert set(rows(tmp_path / "text", "train", "wrd").values()) == {"WRITE TO PARISA", "AND ONCE MORE"}
    sentences = (f"{REAL}/audio-15.flac", f"named twice, with different sentences: {place} 1, {place} 2")
    assert refused(tmp_path / "text") == [sentences, different, same[1]]


def test_an_id_given_twice_or_not_at_all(corpus, tmp_path):
    again = entry(931, "something else", "qa_factoid", "audio-16.flac", "audio-17.flac")
    without = [{key: value for key, value in one.items() if key != "slurp_id"} for one in ENTRIES["train"][:2]]
    without[1]["recordings"] = [{"file": "audio-17.flac"}]
    annotations(corpus, "train").write_bytes(jsonl([again, *without]))
    prepare(corpus, tmp_path / "out")
    assert refused(tmp_path / "out") == [
        ("train.jsonl line 1", f"slurp_id given twice: {REAL}/audio-{number}.flac") for number in (16, 17)
    ]
    assert len(rows(tmp_path / "out", "train")) == 4


def test_without_or_with_damaged_metadata(corpus, tmp_path):
    metadata = corpus / "dataset" / "slurp" / "metadata.json"
    for content in ('{"4318": {"recordings"', '{"4318": {}}'):
        metadata.write_text(content)
        with pytest.raises(InputError, match=r"metadata.json cannot be read .*: download it again, or remove it"):
            prepare(corpus, tmp_path / "out")
    metadata.unlink()
    assert "no metadata.json: speakers shared between splits are not counted" in prepare(corpus, tmp_path / "out")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("dataset", "has neither dataset/slurp/train.jsonl nor train.jsonl: give the folder of the SLURP repository"),
        ("dataset/slurp/devel.jsonl", "devel.jsonl cannot be read: No such file or directory"),
        ("dataset/slurp/train_synthetic.jsonl", "train_synthetic.jsonl cannot be read: No such file or directory"),
        ("audio/slurp_real", "has neither audio/slurp_real nor slurp_real"),
        ("audio/slurp_synth", "has neither audio/slurp_synth nor slurp_synth"),
    ],
)
def test_a_part_of_the_corpus_missing(corpus, tmp_path, gone, message):
    (corpus / gone).rename(tmp_path / "gone")
    with pytest.raises(InputError, match=message):
        prepare(corpus, tmp_path / "out", synthetic=True)
    assert not (tmp_path / "out").exists()
