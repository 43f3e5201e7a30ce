"""Tests of corpus.py and manifests/splits.py: what is written for a corpus, and what stays together."""

from __future__ import annotations

from pathlib import Path

import pytest

from summarymixing_fairseq.corpora.writing.corpus import Prepared, Utterance, write_corpus
from summarymixing_fairseq.corpora.writing.splits import split_clips
from summarymixing_fairseq.corpora.writing.writer import Clip, Refusal
from summarymixing_fairseq.system.errors import InputError


def utterance(name: str, text: str | None = None, **labels: str) -> Utterance:
    return Utterance(Clip(f"{name}.flac", 16000), text, labels)


def corpus(splits, refusals=(), **others) -> Prepared:
    num_found = sum(map(len, splits.values())) + len(refusals)
    return Prepared(Path("/audio"), splits, list(refusals), num_found, **others)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_text_and_labels_beside_the_manifests(tmp_path):
    splits = {
        "train": [utterance("a", "SI TU", intent="go"), utterance("b", "TU", intent="stop")],
        "valid": [utterance("c", "TÛ", intent="rest")],
    }
    summary = write_corpus(tmp_path, corpus(splits, [Refusal("d.flac", "broken")], files={"model.bin": b"\x00\xff"}))
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
    assert "found 4 audio files" in summary and "refused 1: broken, e.g. d.flac" in summary


def test_a_dictionary_for_each_folder(tmp_path):
    splits = {
        "fold1/train": [utterance("a", emotion="sad")],
        "fold1/test": [utterance("b", emotion="sad")],
        "fold2/train": [utterance("b", emotion="neu")],
    }
    write_corpus(tmp_path, corpus(splits))
    written = contents(tmp_path)
    assert written["fold1/dict.emotion.txt"] == "sad 1\n" and written["fold2/dict.emotion.txt"] == "neu 1\n"
    assert written["fold1/test.emotion"] == "sad\n" and "fold2/test.tsv" not in written


def test_other_units(tmp_path):
    write_corpus(tmp_path, corpus({"train": [utterance("a", "go on")]}), units={"pieces": lambda text: "_go _on"})
    assert contents(tmp_path).keys() == {"train.tsv", "train.wrd", "train.pieces", "dict.pieces.txt"}


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (utterance("a", "two  spaces"), "train: a.flac has the text 'two  spaces'"),
        (utterance("a", ""), "train: a.flac has the text ''"),
        (utterance("a", intent="two words"), "train: a.flac has the intent 'two words': one word"),
        (utterance("a", intent=""), "train: a.flac has the intent ''"),
    ],
)
def test_what_no_label_file_can_hold(tmp_path, one, message):
    with pytest.raises(InputError, match=message):
        write_corpus(tmp_path, corpus({"train": [one]}))
    assert not list(tmp_path.iterdir())


def test_too_many_refused(tmp_path):
    prepared = corpus({"train": [utterance("a")]}, [Refusal("b.flac", "broken"), Refusal("c.flac", "broken")])
    with pytest.raises(InputError, match=r"2 of 3 clips refused, more than --max-refused 0\.5; the first, b\.flac"):
        write_corpus(tmp_path, prepared, max_refused=0.5)
    assert contents(tmp_path) == {"refused.tsv": "b.flac\tbroken\nc.flac\tbroken\n"}
    write_corpus(tmp_path, prepared, max_refused=0.67)
    assert "train.tsv" in contents(tmp_path)


def test_nothing_usable(tmp_path):
    with pytest.raises(InputError, match=r"none of 1 clips of /audio is usable; the first, b\.flac: broken"):
        write_corpus(tmp_path, corpus({"train": []}, [Refusal("b.flac", "broken")]))


def test_resampled_clips_are_pointed_out(tmp_path):
    splits = {"train": [Utterance(Clip(f"{n}.mp3", 5, file_rate_hz=48000)) for n in range(2)]}
    assert "2 files at 48000 Hz: speech_pretraining" in write_corpus(tmp_path, corpus(splits))


def test_files_of_an_earlier_run_are_pointed_out(tmp_path):
    write_corpus(
        tmp_path, corpus({"train": [utterance("a", "SI", tone="low")], "valid": [utterance("b", "SI", tone="low")]})
    )
    summary = write_corpus(tmp_path, corpus({"train": [utterance("a", "SI")], "valid": []}), force=True)
    stale = {line.split(" is from an earlier run")[0] for line in summary.splitlines() if "earlier run" in line}
    names = ("train.tone", "dict.tone.txt", "valid.tsv", "valid.wrd", "valid.ltr", "valid.tone")
    assert stale == {str(tmp_path / name) for name in names}


def test_parts_of_a_file_and_clips_of_a_speaker_stay_together():
    clips = [Clip(f"{speaker}/{book}.flac", 10, part) for speaker in range(30) for book in range(3) for part in (0, 10)]
    train, valid, note = split_clips(clips, 0.3)
    assert note is None and not {clip.path for clip in train} & {clip.path for clip in valid}
    train, valid, _ = split_clips(clips, 0.3, lambda clip: clip.path.split("/")[0])
    speakers = [{clip.path.split("/")[0] for clip in part} for part in (train, valid)]
    assert not speakers[0] & speakers[1] and len(speakers[0] | speakers[1]) == 30 and len(train) + len(valid) == 180


def test_one_speaker_cannot_be_split():
    with pytest.raises(InputError, match="1 usable speaker cannot be split"):
        split_clips([Clip("a/1.flac", 5), Clip("a/2.flac", 5)], 0.5, lambda clip: "a")
