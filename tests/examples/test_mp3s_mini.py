"""Tests of examples/corpora/mp3s_mini.py: texts at full scale, files and sound at the smallest."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import clips
import mp3s_mini
import numpy as np
import pytest
import soundfile
from manifest_command import all_files, lengths, lines
from mp3s_mini import compose_lines, main, prepare
from sentences import GRAMMARS, SCENARIOS, Grammar, compose, rich_first, split_of
from voices import HARD_READERS, TEST_SPEAKERS, TRAIN_SPEAKERS, Delivery, Voice, readers, say

from summarymixing_fairseq.data.manifest_check import check_folder
from summarymixing_fairseq.data.synthesiser import variants
from summarymixing_fairseq.system.errors import InputError

SMALLEST = 0.001
TASKS = {
    "pretrain": ["train", "valid"],
    "librispeech": ["train", "valid", "test_clean", "test_other"],
    "commonvoice_cy": ["train", "valid", "test"],
    "commonvoice_eu": ["train", "valid", "test"],
    "slurp": ["train", "valid", "test"],
    "iemocap": ["train", "valid", "test"],
    "voxceleb1": ["train", "valid", "test"],
}
LABELS = {
    "pretrain": [],
    "librispeech": ["ltr", "wrd"],
    "commonvoice_cy": ["ltr", "wrd", "bpe100"],
    "commonvoice_eu": ["ltr", "wrd", "bpe100"],
    "slurp": ["scenario"],
    "iemocap": ["emotion"],
    "voxceleb1": ["speaker"],
}
OTHERS = {
    "commonvoice_cy": {"bpe100.model"},
    "commonvoice_eu": {"bpe100.model"},
    "voxceleb1": {"test.trials"},
}


@pytest.fixture(scope="module")
def full():
    return compose_lines(1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    dest = tmp_path_factory.mktemp("mini")
    prepare(dest, scale=SMALLEST, workers=1)
    return dest


def words(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))


# Texts and speakers, at full scale


@pytest.mark.parametrize("scale", [SMALLEST, 0.1, 1.0])
def test_no_sentence_is_in_two_splits_and_no_held_out_one_in_pretraining(full, scale):
    lines = full if scale == 1.0 else compose_lines(scale)
    texts: dict[tuple[str, str], set[str]] = {}
    for line in lines:
        texts.setdefault((line.task, line.split), set()).add(words(line.spoken))
    for task, splits in TASKS.items():
        together = [text for split in splits for text in texts[task, split]]
        assert len(together) == len(set(together)), task
    pretrain = texts["pretrain", "train"] | texts["pretrain", "valid"]
    held_out = {
        text for (task, split), these in texts.items() if task != "pretrain" and split != "train" for text in these
    }
    assert not pretrain & held_out


def test_each_clip_has_a_file_of_its_own(full):
    assert len({line.path for line in full}) == len(full) > 2000


def test_speakers_of_splits(full):
    variants_of: dict[tuple[str, str], set[str]] = {}
    for line in full:
        variants_of.setdefault((line.task, line.split), set()).add(line.voice.espeak.partition("+")[2])
    tested = variants_of["voxceleb1", "test"]
    assert len(tested) == 20 and len(variants_of["voxceleb1", "train"]) == 24
    # a test speaker's variant is heard nowhere else
    assert all(not tested & these for key, these in variants_of.items() if key != ("voxceleb1", "test"))
    for task in ("librispeech", "commonvoice_cy", "commonvoice_eu", "iemocap"):
        for split in TASKS[task][1:]:
            assert not variants_of[task, "train"] & variants_of[task, split], (task, split)
    assert not variants_of["iemocap", "valid"] & variants_of["iemocap", "test"]
    assert not variants_of["librispeech", "test_clean"] & variants_of["librispeech", "test_other"]


def test_voices_are_there_and_differ():
    everyone = [*TEST_SPEAKERS, *TRAIN_SPEAKERS, *HARD_READERS]
    assert len({voice.name for voice in everyone}) == len(everyone)
    assert {voice.espeak.partition("+")[2] for voice in everyone} <= set(variants())
    assert [voice.espeak for voice in readers("cy", 2, 2)] == ["cy+m3", "cy+zac"]


@pytest.mark.parametrize("voice", [*TEST_SPEAKERS, *TRAIN_SPEAKERS, *HARD_READERS], ids=lambda voice: voice.espeak)
def test_voices_say_the_same_each_time(voice):
    # a hiss, which some of espeak-ng's variants make of new noise
    first, again = (say("such fish", voice, Delivery(snr_db=20)) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_recogniser_can_know_the_words(full):
    for task in ("librispeech", "commonvoice_cy", "commonvoice_eu"):
        known = {word for line in full if (line.task, line.split) == (task, "train") for word in line.text.split()}
        asked = [word for line in full if line.task == task and line.split != "train" for word in line.text.split()]
        assert 150 < len(known) < 300
        assert sum(word not in known for word in asked) < 0.01 * len(asked)


def test_a_sentence_is_said_in_each_emotion_by_the_same_speaker(full):
    said = [line for line in full if line.task == "iemocap"]
    for index in range(0, len(said), 4):
        four = said[index : index + 4]
        assert [line.labels["emotion"] for line in four] == ["ang", "hap", "neu", "sad"]
        assert len({line.spoken[:-1] for line in four}) == 1 and len({line.voice for line in four}) == 1
    sentences = Counter(line.spoken[-1] for line in said)
    assert sentences.keys() == {"!", "."}
    # no feeling is told by pitch alone
    pitch = {
        name: [one.delivery.pitch for one in said if one.labels["emotion"] == name] for name in mp3s_mini._EMOTIONS
    }
    assert max(pitch["neu"]) > min(pitch["ang"]) and max(pitch["sad"]) > min(pitch["neu"])
    assert np.mean(pitch["sad"]) < np.mean(pitch["neu"]) < np.mean(pitch["ang"]) < np.mean(pitch["hap"])


def test_scenarios_are_slurps_and_test_has_wordings_of_its_own(full):
    assert len(SCENARIOS) == 18
    commands = [line for line in full if line.task == "slurp"]
    for name, grammar in SCENARIOS.items():
        (wording,) = grammar.test_templates
        form = re.compile(re.sub(r"\{\w+\}", "(.+)", wording))
        of_form = {line.split for line in commands if line.labels["scenario"] == name and form.fullmatch(line.spoken)}
        assert of_form == {"test"}, name


@pytest.mark.parametrize("grammar", [*GRAMMARS.values(), *SCENARIOS.values()])
def test_slots_of_a_grammar_are_there_and_repeat_no_choice(grammar):
    for template in (*grammar.templates, *grammar.test_templates):
        for name in re.findall(r"\{(\w+)\}", template):
            choices = grammar.slots[name]
            assert len(choices) == len(set(choices)) and all(choices)


def test_more_sentences_than_a_grammar_has():
    grammar = Grammar(("say {what}",), {"what": "abcdefgh"})
    there = [sentence for what in "abcdefgh" if split_of(sentence := f"say {what}") == "train"]
    assert sorted(compose(grammar, "train", len(there))) == there
    with pytest.raises(InputError, match=f"only {len(there)} sentences for train .* give a smaller --scale"):
        compose(grammar, "train", len(there) + 1)


def test_the_first_sentences_hold_all_letters_then_all_words():
    sentences = ["ab ab", "ab", "b a", "abc ab", "x", "ab b", "c"]
    assert rich_first(sentences) == ["ab ab", "abc ab", "x", "b a", "c", "ab", "ab b"]
    welsh = compose(GRAMMARS["cy"], "train", 50)
    assert sorted(rich_first(welsh)) == sorted(welsh)


# Files, at the smallest scale


def test_layout(corpus):
    assert {path.name for path in corpus.iterdir()} == {"audio", *TASKS}
    for task, splits in TASKS.items():
        labels = LABELS[task]
        expected = {f"{split}.{ending}" for split in splits for ending in ("tsv", *labels)}
        expected |= {f"dict.{ending}.txt" for ending in labels if ending != "wrd"} | OTHERS.get(task, set())
        if task == "voxceleb1":  # its test speakers are no classes
            expected.remove("test.speaker")
        assert {path.name for path in (corpus / task).iterdir()} == expected
        problems = dict(check_folder(corpus / task, splits, workers=1).problems)
        assert not problems, task


def test_classes_are_whole_in_each_split(corpus):
    for task, kind, number in (("slurp", "scenario", 18), ("iemocap", "emotion", 4), ("voxceleb1", "speaker", 24)):
        train = Counter(lines(corpus / task / f"train.{kind}"))
        assert len(train) == number and min(train.values()) >= 2
        assert set(lines(corpus / task / f"valid.{kind}")) == set(train)


def test_clips_can_be_heard(corpus):
    for path in (corpus / "audio").rglob("*.flac"):
        samples, rate_hz = soundfile.read(path, dtype="float32")
        assert 0.6 <= len(samples) / rate_hz <= 10
        assert 0.05 < np.abs(samples).max() < 0.95
        assert (samples**2).mean() ** 0.5 > 0.01


def test_trials(corpus):
    trials = [line.split("\t") for line in lines(corpus / "voxceleb1/test.trials")]
    speaker_of = {name: name.split("/")[1] for name in lengths(corpus / "voxceleb1/test.tsv")}
    same = 0
    for answer, one, other in trials:
        assert answer == str(int(speaker_of[one] == speaker_of[other]))
        if answer == "1":
            assert one.split("/")[2] != other.split("/")[2]  # clips of different videos
            same += 1
    assert len(trials) == 2 * same and same >= len(set(speaker_of.values()))
    assert len({frozenset(pair) for _, *pair in trials}) == len(trials)


def test_valid_has_other_videos_than_train(corpus):
    train, valid = (
        {name.rpartition("/")[0] for name in lengths(corpus / f"voxceleb1/{s}.tsv")} for s in ("train", "valid")
    )
    assert not train & valid


def test_trials_of_the_full_corpus(full):
    trials = mp3s_mini._trials([line.path for line in full if (line.task, line.split) == ("voxceleb1", "test")])
    answers = Counter(line[0] for line in trials.splitlines())
    # 12 clips of 4 videos: of 66 pairs of a speaker's clips, 12 are of one video
    assert answers == {"1": 20 * 54, "0": 20 * 54}


def test_pieces_are_as_many_as_the_texts_yield(full):
    for task in ("commonvoice_cy", "commonvoice_eu"):
        texts = {split: [one.text for one in full if (one.task, one.split) == (task, split)] for split in TASKS[task]}
        assert 95 <= len(mp3s_mini._pieces(texts)) <= 100
    few = {"train": ["ab ab", "ba"], "valid": ["ab"], "test": ["b a"]}
    pieces = mp3s_mini._pieces(few)
    assert 4 <= len(pieces) < 10
    assert set(pieces.encode("b a").split()) <= set(" ".join(map(pieces.encode, few["train"])).split())


def test_a_second_run_speaks_nothing_and_changes_nothing(corpus, monkeypatch, capsys):
    before = all_files(corpus)
    monkeypatch.setattr(clips, "write_flac", lambda *_: pytest.fail("spoken again"))
    assert main(["--dest", str(corpus), "--scale", str(SMALLEST), "--workers", "1"]) == 0
    assert all_files(corpus) == before
    output = capsys.readouterr().out
    assert output.endswith("they are not the benchmark's\n")
    assert re.search(r"^slurp: 90 clips, \d\.\d min$", output, re.MULTILINE)


def test_what_is_missing_is_spoken_again_the_same_in_other_processes(corpus):
    before = all_files(corpus)
    shutil.rmtree(corpus / "audio" / "iemocap")
    shutil.rmtree(corpus / "librispeech")
    prepare(corpus, scale=SMALLEST, workers=2)
    assert all_files(corpus) == before


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0, "--scale 0 must be above 0"),
        (-1, "--scale -1 must be above 0"),
        (float("nan"), "--scale nan must be above 0"),
        (2, r"only \d+ sentences for \w+ can be composed like .*: give a smaller --scale"),
    ],
)
def test_scales_that_cannot_be(tmp_path, scale, message):
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "out", scale=scale)
    assert not (tmp_path / "out").exists()


# Ways of speaking

VOICE = Voice("somebody", "en-us+m3")
TEXT = "the cup is on the shelf"


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10((samples.astype(np.float64) ** 2).mean())


def centroid_hz(samples: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float((power * np.fft.rfftfreq(len(samples), 1 / 16000)).sum() / power.sum())


def test_a_delivery_does_what_it_says():
    plain = say(TEXT, VOICE, Delivery())
    assert plain.dtype == np.float32 and np.array_equal(plain, say(TEXT, VOICE, Delivery()))
    assert level_db(plain) == pytest.approx(-24, abs=0.01)
    assert level_db(say(TEXT, VOICE, Delivery(level_dbfs=-30))) == pytest.approx(-30, abs=0.01)
    assert len(say(TEXT, VOICE, Delivery(rate=1.3))) < 0.9 * len(plain)
    assert centroid_hz(say(TEXT, VOICE, Delivery(tilt=-0.5))) < 0.95 * centroid_hz(plain)
    assert centroid_hz(say(TEXT, VOICE, Delivery(tilt=0.5))) > 1.2 * centroid_hz(plain)
    loud = say(TEXT, VOICE, Delivery(level_dbfs=-1))
    assert np.abs(loud).max() == pytest.approx(0.9, abs=1e-6)


def test_noise_is_as_far_below_speech_as_asked():
    plain, noisy = (say(TEXT, VOICE, Delivery(snr_db=snr_db)).astype(np.float64) for snr_db in (None, 10.0))
    # the part of the noisy clip that is the plain one, and the rest
    share = plain @ noisy / (plain @ plain)
    assert level_db(share * plain) - level_db(noisy - share * plain) == pytest.approx(10, abs=0.3)


def test_a_shorter_vocal_tract_raises_all_frequencies_and_keeps_the_pace():
    plain, small = (say(TEXT, replace(VOICE, formant_scale=scale), Delivery()) for scale in (1.0, 1.2))
    assert centroid_hz(small) > 1.1 * centroid_hz(plain)
    assert len(small) == pytest.approx(len(plain), rel=0.08)
    assert np.array_equal(small, say(TEXT, VOICE, Delivery(formant_scale=1.2)))


def test_a_rough_voice_flutters():
    plain, rough = (say(TEXT, VOICE, Delivery(roughness=depth)).astype(np.float64) for depth in (0.0, 0.8))
    ratio = np.abs(rough[np.abs(plain) > 0.02] / plain[np.abs(plain) > 0.02])
    assert ratio.max() / ratio.min() == pytest.approx(1 / (1 - 0.8), rel=0.05)


def test_extreme_speeds_and_pitches_stay_within_what_can_be_spoken():
    for rate, pitch in ((0.1, -200), (10, 200)):
        assert len(say(TEXT, VOICE, Delivery(rate=rate, pitch=pitch))) > 1000
