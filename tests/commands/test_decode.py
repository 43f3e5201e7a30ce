"""`summarymixing decode` on checkpoints that fairseq's trainer wrote."""

from __future__ import annotations

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pipeline import Trained

ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<s>\t-0.3
-1.0\t</s>
-0.7\tTHE\t-0.3
-0.7\tLINE\t-0.3
-0.9\tHÉLLO\t-0.3

\\2-grams:
-0.2\t<s> THE
-0.2\tTHE LINE

\\end\\
"""


@pytest.fixture
def decode(command):
    """`summarymixing decode` in this process."""
    return partial(command, "decode")


def test_split_every_utterance_in_order(decode, trained: Trained, tmp_path: Path) -> None:
    done = decode(trained.fine_tuned, "--data", trained.data, "--split", "train", "--results", tmp_path)
    num_clips = len((trained.data / "train.tsv").read_text().splitlines()) - 1
    assert len((tmp_path / "hypo.wrd").read_text().splitlines()) == num_clips
    assert (tmp_path / "ref.wrd").read_text() == (trained.data / "train.wrd").read_text()
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["utterances"] == num_clips and scores["real_time_factor"] > 0
    assert scores["wer_total"] == len((trained.data / "train.wrd").read_text().split())
    assert re.search(r"WER [\d.]+ % .*\nCER [\d.]+ %", done.stdout)


def test_batching_does_not_change_the_text(decode, trained: Trained, tmp_path: Path) -> None:
    for name, seconds in (("one", 0.1), ("many", 1000)):
        where = ["--data", trained.data, "--split", "train", "--results", tmp_path / name]
        decode(trained.fine_tuned, *where, "--batch-seconds", seconds)
    assert (tmp_path / "one/hypo.wrd").read_text() == (tmp_path / "many/hypo.wrd").read_text()


def test_audio_files_without_training_data(decode, trained: Trained, tmp_path: Path) -> None:
    """A fine-tuned checkpoint needs neither its data folder, nor its dictionary file, nor the pre-trained file."""
    state = torch.load(trained.fine_tuned, weights_only=True)
    state["cfg"]["task"]["data"] = state["cfg"]["model"]["data"] = "/gone"
    checkpoint = tmp_path / "moved.pt"
    torch.save(state, checkpoint)
    clips = sorted(trained.audio.glob("*.flac"))[:2]
    lines = decode(checkpoint, *clips).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(clip) for clip in clips]


def test_beam_search_with_arpa(decode, trained: Trained, clip: Path, tmp_path: Path) -> None:
    model = tmp_path / "words.arpa"
    model.write_text(ARPA)
    done = decode(trained.fine_tuned, clip, "--lm", model, "--beam", 10)
    assert set(done.stdout.rstrip("\n").split("\t")[1].split()) <= {"THE", "LINE"}
    assert "1 words of the lexicon have letters the model lacks" in done.stderr


def test_clip_too_short_for_a_frame_decodes_to_nothing(decode, trained: Trained, clip: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tiny.wav", np.zeros(500, dtype="float32"), 16_000)
    done = decode(trained.fine_tuned, clip, tmp_path / "tiny.wav")
    assert len(done.stdout.splitlines()) == 2 and done.stdout.splitlines()[1].endswith("tiny.wav\t")
    assert "1 clips are too short" in done.stderr


@pytest.fixture
def bad(trained: Trained, clip: Path, tmp_path: Path) -> dict[str, Path]:
    """Files that are not what they should be."""
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nan.wav", np.full(4000, np.nan, dtype="float32"), 16_000, subtype="FLOAT")
    for name, text in (("header", "/root\n"), ("columns", "/root\na.flac 100\n"), ("gone", "/root\na.flac\t100\n")):
        (tmp_path / f"{name}.tsv").write_text(text)
    shutil.copy(trained.data / "train.tsv", tmp_path / "short.tsv")
    (tmp_path / "short.wrd").write_text("ONE\n")
    torch.save({"cfg": {"model": {"_name": "wav2vec2"}}, "model": {"a": torch.ones(1)}}, tmp_path / "other.pt")
    (tmp_path / "dict.ltr.txt").write_text("A 1\n")
    return {"folder": tmp_path, "checkpoint": trained.fine_tuned, "pretrained": trained.pretrained, "clip": clip}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{folder}/none.pt {clip}", r"none\.pt cannot be read: No such file"),
        ("{folder}/text.pt {clip}", r"text\.pt is no checkpoint"),
        ("{folder}/other.pt {clip}", r"checkpoint of 'wav2vec2', not of 'wav2vec2_summarymixing'"),
        ("{checkpoint} {folder}/none.wav", r"none\.wav cannot be read: no such file"),
        ("{checkpoint} {folder}/empty.wav", r"empty\.wav cannot be read"),
        ("{pretrained} {clip}", r"pre-trained only"),
        ("{checkpoint}", r"name the clips"),
        ("{checkpoint} --data {folder} --split none", r"none\.tsv cannot be read"),
        ("{checkpoint} --data {folder} --split header", r"header\.tsv has no row"),
        ("{checkpoint} --data {folder} --split columns", r"columns\.tsv, line 2: .* is not path, tab"),
        ("{checkpoint} --data {folder} --split gone", r"a\.flac cannot be read: no such file"),
        ("{checkpoint} --data {folder} --split short", r"short\.wrd has 1 lines, its manifest \d+ rows"),
        ("{checkpoint} {clip} --lm {folder}/none.arpa", r"none\.arpa cannot be read"),
        ("{checkpoint} {clip} --lm {folder}/text.pt", r"text\.pt is no ARPA file"),
        ("{checkpoint} {clip} --device cuda:7", r"--device cuda:7"),
        ("{checkpoint} {clip} --batch-seconds nan", r"--batch-seconds nan: must be a positive number"),
        ("{checkpoint} {clip} --lexicon {folder}/dict.ltr.txt", r"--lexicon is of use with --lm only"),
        ("{checkpoint} {clip} --beam 5", r"--beam is of use with --lm only"),
        ("{checkpoint} {clip} --lm {folder}/text.pt --lm-weight nan", r"--lm-weight nan: must be a finite number"),
        ("{checkpoint} {folder}", r"(empty|nan)\.wav .*"),
        ("{checkpoint} {folder}/nan.wav", r"nan\.wav holds samples that are not finite"),
        ("{checkpoint} {clip} --results {folder}/text.pt/below", r"text\.pt/below cannot be written: Not a directory"),
    ],
)
def test_bad_input_is_one_line(decode, arguments: str, message: str, bad: dict[str, Path]) -> None:
    done = decode(*(part.format(**bad) for part in arguments.split()), check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("summarymixing decode: ")]
    assert done.returncode == 1
    assert len(lines) == 1 and re.search(message, lines[0])


def test_forced_results_leave_no_reference_of_an_earlier_run(
    decode, trained: Trained, clip: Path, tmp_path: Path
) -> None:
    decode(trained.fine_tuned, "--data", trained.data, "--split", "valid", "--results", tmp_path)
    decode(trained.fine_tuned, clip, "--results", tmp_path, "--force")
    assert not (tmp_path / "ref.wrd").exists()
    assert len((tmp_path / "hypo.wrd").read_text().splitlines()) == 1


def test_output_that_cannot_be_written_is_one_line(decode, trained: Trained, clip: Path, monkeypatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = decode(trained.fine_tuned, clip, check=False)
    assert done.returncode == 1 and done.stderr.endswith("summarymixing decode: output: No space left on device\n")
