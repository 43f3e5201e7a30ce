"""Tests of examples/corpora/timed_speech.py: texts at full scale, files and times at the smallest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import all_files
from timed_speech import SENTENCES, SPEAKERS, compose_lines, main, prepare
from voices import Delivery, say_timed

from summarymixing_fairseq.data.alignments import read_alignments, read_textgrid
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.manifest_check import check_folder
from summarymixing_fairseq.data.synthesiser import speak_timed
from summarymixing_fairseq.system.errors import InputError

SMALLEST = 0.9


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    dest = tmp_path_factory.mktemp("timed")
    prepare(dest, minutes=SMALLEST, workers=1)
    return dest


def test_splits_share_no_sentence_and_no_speaker():
    full = compose_lines(55)
    assert len({line.name for line in full}) == len(full) > 1200
    for what in ("text", "voice"):
        train, test = ({getattr(line, what) for line in full if line.split == split} for split in ("train", "test"))
        assert not train & test
    variants = [{line.voice.espeak.partition("+")[2] for line in full if line.split == split} for split in SPEAKERS]
    assert not variants[0] & variants[1]
    assert len({line.language for line in full}) == 5


@pytest.mark.parametrize("minutes", [SMALLEST, 10])
def test_a_small_corpus_has_every_language_equally(minutes):
    chosen = compose_lines(minutes)
    for split in SPEAKERS:
        counts = [sum((line.split, line.language) == (split, one) for line in chosen) for one in SENTENCES]
        assert 1 <= max(counts) <= min(counts) + 1


@pytest.mark.parametrize("language", SENTENCES)
def test_a_language_has_all_phones_of_its_test_in_training(language):
    phones = {}
    for split, sentences in SENTENCES[language].items():
        spoken = [speak_timed(text, language)[1] for text in sentences]
        assert [" ".join(word.text for word in words) for words in spoken] == sentences
        phones[split] = {phone.name for words in spoken for word in words for phone in word.phones}
    assert phones["test"] <= phones["train"] and len(phones["train"]) > 30


def test_files(corpus):
    assert not check_folder(corpus, ["train", "test"], workers=1).problems
    clips = {split: list(Manifest(corpus / f"{split}.tsv")) for split in ("train", "test")}
    both = [*clips["train"], *clips["test"]]
    assert "espeak-ng" in (corpus / "README.md").read_text()
    chosen = compose_lines(SMALLEST)
    found = read_alignments(corpus / "alignments", both)
    for line, clip, alignment in zip(chosen, both, found):
        assert clip.name == f"{line.name}.flac" and clip.num_samples == round(alignment.seconds * 16000)
        assert (alignment.text, alignment.language, alignment.speaker) == (line.text, line.language, line.voice.name)
        grid = read_textgrid(corpus / "alignments" / f"{line.name}.TextGrid")
        assert grid.tiers == alignment.tiers and grid.seconds == alignment.seconds
        # words and phones agree: a word is its phones, and no phone is outside
        words, phones = alignment.tiers["words"], alignment.tiers["phones"]
        inside = [[one for one in phones if word.start <= one.start and one.end <= word.end] for word in words]
        assert [one for these in inside for one in these] == list(phones)
        assert all(these[0].start == word.start and these[-1].end == word.end for word, these in zip(words, inside))
        assert " ".join(word.label for word in words) == line.text


def test_times_are_those_of_the_file(corpus):
    """Voices that are made at another rate are among them. Sibilants are what sounds most above 4 kHz."""
    powers: dict[bool, list[float]] = {True: [], False: []}
    chosen = compose_lines(SMALLEST)
    assert any(line.voice.formant_scale != 1 for line in chosen)
    for line in chosen:
        samples, _ = soundfile.read(corpus / "audio" / f"{line.name}.flac")
        high = np.diff(samples, n=4, prepend=np.zeros(4)) ** 2
        for one in read_textgrid(corpus / "alignments" / f"{line.name}.TextGrid").tiers["phones"]:
            is_sibilant = one.label[0] in "szSZ" or one.label[:2] in ("tS", "dZ", "ts")
            powers[is_sibilant].append(high[round(one.start * 16000) : round(one.end * 16000)].mean())
    assert np.quantile(powers[True], 0.25) > np.quantile(powers[False], 0.75)


def test_a_voice_made_at_another_rate_is_timed_at_16_khz():
    line = next(line for line in compose_lines(10) if abs(line.voice.formant_scale - 1) > 0.02)
    samples, words = say_timed(line.text, line.voice, Delivery())
    assert 0.9 * len(samples) < words[-1].end <= len(samples)


def test_again_is_the_same_and_makes_nothing(corpus, tmp_path):
    before = all_files(corpus)
    prepare(corpus, minutes=SMALLEST, workers=1)
    assert all_files(corpus) == before
    prepare(tmp_path, minutes=SMALLEST, workers=2)
    for path in corpus.rglob("*.*"):
        other = tmp_path / path.relative_to(corpus)
        if path.is_file() and path.suffix != ".tsv":
            assert other.read_bytes() == path.read_bytes()


def test_labels_that_a_killed_run_has_not_written_are_made(corpus, tmp_path):
    line = compose_lines(SMALLEST)[0]
    prepare(tmp_path, minutes=SMALLEST, workers=1)
    for name in (f"audio/{line.name}.flac", f"alignments/{line.name}.json", f"alignments/{line.name}.TextGrid"):
        (tmp_path / name).unlink()
    prepare(tmp_path, minutes=SMALLEST, workers=1)
    for name in (f"audio/{line.name}.flac", f"alignments/{line.name}.json", f"alignments/{line.name}.TextGrid"):
        assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()


def test_refusals(corpus, capsys):
    for minutes in (0, 0.5, 60, float("nan"), float("inf")):
        with pytest.raises(InputError, match=rf"--minutes {minutes:g} must be from 0\.9 to 55"):
            compose_lines(minutes)
    before = (corpus / "train.tsv").read_bytes()
    assert main(["--dest", str(corpus), "--minutes", "1.5", "--workers", "1"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "exists with other content: give --force" in error
    assert (corpus / "train.tsv").read_bytes() == before
