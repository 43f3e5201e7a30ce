"""Tests of examples/corpora/asterisk.py and its parts, on a small imitation of Debian's packages."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import asterisk
import clips
import numpy as np
import pytest
import soundfile
from asterisk import main, prepare
from asterisk_packages import VOICES, parse_transcripts
from G722 import G722
from manifest_command import all_files, lengths, lines, refused
from prompt_corpus import few, split_recordings
from sentences import PROMPTS, compose_prompts

from summarymixing_fairseq.corpora.text.english_text import normalise
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.data.manifest_check import check_folder
from summarymixing_fairseq.data.synthesiser import speak
from summarymixing_fairseq.system.errors import InputError

ENGLISH = {
    # too short to be held out, so that training always has every letter
    **{f"letters/{letter}": letter for letter in "abcdefghijklmnopqrstuvwxyz"},
    "activated": "Activated.",
    "agent-pass": "Please enter your password followed by the pound key.",
    "agent-user": "Agent login.  Please quit the exchange.",
    "auth-thankyou": "Thank you.",
    "privacy-thankyou": "Thank you!",
    "beep": "[this is a simple beep tone]",
    "silence/1": "(1 second of silence)",
    "tt-monkeys": "[sound of monkeys screaming]",
    "letters/at": "at [@]",
    "digits/1": "one",
    "vm-advopts": "press 3 for advanced options",
    "confbridge-leave-in": "To leave the conference...",
    "confbridge-leave-out": "...to leave the conference.",
    "im-sorry": "I'm sorry.",
    "demo-echotest": "You are about to enter an echo test.",
    "vm-youhave": "you have",
    "spy-h323": "H.323",
    "demo-moreinfo": "visit www.asterisk.org.",
    "pls-try-call-later": "Please try your call again later.",  # has no recording, as in Debian's package
}
SPANISH = {"activated": "Activado.", "dir-welcome": "", "beep": "[tono simple]", "hello": "Hola."}


@cache
def g722(text: str, voice: str) -> bytes:
    samples = np.round(speak(text, voice) * 30000).astype(np.int16)
    return G722(16000, 64000).encode(samples[: len(samples) // 2 * 2])


def add_language(root: Path, language: str, transcripts: dict[str, str], silent: tuple[str, ...] = ()) -> None:
    """Recordings of all transcripts but the last; those named in `silent` are empty files."""
    folder = root / "usr/share/asterisk/sounds" / VOICES[language].folder
    for name in [*transcripts][:-1]:
        path = folder / f"{name}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name in silent else g722(transcripts[name] or name, language))
    document = root / f"usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    document.parent.mkdir(parents=True)
    lines = ["; Core Asterisk Sounds", "", *(f"{name}: {text}" for name, text in transcripts.items())]
    document.write_bytes(gzip.compress("\n".join(lines).encode("utf-8")))


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("packages")
    add_language(root, "en", ENGLISH)
    add_language(root, "es", SPANISH)
    add_language(root, "ru", {"is": "", "tt-monkeys": "обезьяны", "hello": "Алло!", "-": "-"}, silent=("is",))
    return root


@pytest.fixture(scope="module")
def corpus(packages, tmp_path_factory) -> tuple[Path, str]:
    """A corpus that no test changes, and the summary of its run."""
    dest = tmp_path_factory.mktemp("corpus")
    return dest, run(dest, packages)


def run(dest: Path, packages: Path, **options) -> str:
    options = {"languages": ["en", "es", "ru"], "held_out": 3, "num_valid": 2, "min_seconds": 0.1, **options}
    return prepare(dest, packages=packages, **options)


def pretraining(dest: Path) -> set[str]:
    return {name for split in ("train", "valid") for name in lengths(dest / "pretrain" / f"{split}.tsv")}


def test_layout_and_labels(corpus):
    folder, summary = corpus
    words = {name: lines(folder / "finetune" / f"{name}.wrd") for name in ("train", "valid", "test")}
    assert len(words["test"]) == 3 and len(words["valid"]) == 2
    assert set().union(*words.values()) == {normalise(ENGLISH[name]) for name in _learnable()}
    for task, splits in (("pretrain", ["train", "valid"]), ("finetune", [*words])):
        assert not check_folder(folder / task, splits, workers=1).problems
        assert lines(folder / task / "train.tsv")[0] == str(folder / "audio")
    assert "found 50 clips" in summary
    assert "finetune/test: 3 clips" in summary and "finetune/valid: 2 clips" in summary
    assert "Allison Smith" in (folder / "LICENSES.txt").read_text()
    assert "en: without transcript 0 clips, without clip 1 transcripts" in summary


def test_five_minutes_to_fine_tune_on():
    recordings = [Utterance(Clip(f"en/{number:02}.flac", 7 * 16_000), "a") for number in range(100)]
    chosen = [one.clip.path for one in few(recordings)]
    assert len(chosen) == 42 and chosen == sorted(chosen)
    # a corpus that grows keeps those whose paths come first
    of_fewer = {one.clip.path for one in few(recordings[:60])}
    assert of_fewer >= {path for path in chosen if path < "en/60"}


def _learnable() -> list[str]:
    left_out = {"beep", "silence/1", "tt-monkeys", "spy-h323", "demo-moreinfo", "pls-try-call-later"}
    return [name for name in ENGLISH if name not in left_out]


def test_decoded_samples_are_those_of_the_codec(corpus):
    samples, _ = soundfile.read(corpus[0] / "audio" / "en" / "digits" / "1.flac", dtype="int16")
    expected = np.asarray(G722(16000, 64000).decode(g722("one", "en")), dtype=np.int16)
    np.testing.assert_array_equal(samples, expected)
    assert np.abs(samples).max() > 3000


def test_what_is_refused_and_why(corpus):
    folder, _ = corpus
    reasons = dict(refused(folder))
    expected = {
        "en/beep.g722": "tone or noise",
        "en/tt-monkeys.g722": "tone or noise",
        "es/beep.g722": "tone or noise",
        "ru/tt-monkeys.g722": "tone or noise",  # by its name, as the transcript does not tell
        "en/silence/1.g722": "silence",
        "ru/is.g722": "empty file",
        "en/spy-h323.flac": "several ways (left out of fine-tuning only)",
        "en/demo-moreinfo.flac": "web address",
    }
    for path, reason in expected.items():
        assert reason in reasons[path]
    assert {path for path, reason in reasons.items() if "same text" not in reason} == expected.keys()
    # a recording without a transcript, or with one of no use, is for pre-training
    assert {"es/dir-welcome.flac", "en/spy-h323.flac", "en/demo-moreinfo.flac", "ru/hello.flac"} <= pretraining(folder)
    assert not (folder / "audio" / "en" / "beep.flac").exists()


def english(name: str, num_samples: int, text: str) -> Utterance:
    return Utterance(Clip(f"en/{name}.flac", num_samples), text)


def test_no_held_out_text_is_heard_in_training():
    # all but two texts are held out, so that both doubled texts are surely among them
    recordings = [english(name, 32000, normalise(ENGLISH[name])) for name in _learnable()]
    num_texts = len({one.text for one in recordings})
    splits, pretrain, left_out = split_recordings(recordings, num_texts - 3, 1, 0.5)
    text_of = {one.clip.path: one.text for one in recordings}
    held_out = [one.text for one in splits["test"] + splits["valid"]]
    assert len(set(held_out)) == len(held_out) == num_texts - 2
    assert not {*held_out} & {one.text for one in splits["train"]}
    assert not {*held_out} & {text_of[clip.path] for clip in pretrain}
    assert {one.reason for one in left_out} == {"same text as a held-out prompt"}
    assert len(left_out) + len(splits["train"]) + len(held_out) == len(recordings)


def test_short_prompts_are_held_out_last():
    recordings = [english(str(k), 8000 if k < 20 else 20000, f"TEXT {chr(65 + k)}") for k in range(26)]
    splits, _, _ = split_recordings(recordings, 4, 2, 0.5)
    assert all(one.clip.num_samples == 20000 for one in splits["test"] + splits["valid"])


def test_short_clips_are_left_out_of_pretraining_only():
    recordings = [english(str(k), 4000 * k, "A" * k) for k in range(1, 6)]
    splits, pretrain, (left_out,) = split_recordings(recordings, 1, 1, 0.4)
    assert left_out.path == "en/1.flac"
    assert left_out.reason == "shorter than 0.4 s (left out of pre-training only)"
    assert "en/1.flac" in [one.clip.path for one in splits["train"]]
    assert "en/1.flac" not in [clip.path for clip in pretrain]


def test_held_out_prompts_stay_when_recordings_are_added(packages, corpus, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(packages, more)
    folder = more / "usr/share/asterisk/sounds" / VOICES["en"].folder
    (folder / "zz-new.g722").write_bytes(g722("new", "en"))
    run(tmp_path / "after", more)
    for name in ("test.wrd", "valid.wrd", "test.tsv"):
        before, after = (lines(folder / "finetune" / name) for folder in (corpus[0], tmp_path / "after"))
        assert before[1:] == after[1:]
    assert "en/zz-new.flac" in pretraining(tmp_path / "after")


def test_second_run_changes_nothing_and_decodes_nothing(packages, corpus, monkeypatch):
    folder, summary = corpus
    before = all_files(folder)
    monkeypatch.setattr(clips, "write_flac", lambda *_: pytest.fail("decoded again"))
    assert run(folder, packages) == summary
    assert all_files(folder) == before


def test_a_damaged_clip_is_decoded_again_and_other_splits_need_force(packages, tmp_path):
    run(tmp_path, packages)
    clip = tmp_path / "audio" / "es" / "activated.flac"
    whole = clip.read_bytes()
    soundfile.write(clip, np.zeros(100), 16000)
    run(tmp_path, packages)
    assert clip.read_bytes() == whole
    before = all_files(tmp_path)
    with pytest.raises(InputError, match="exists with other content: give --force"):
        run(tmp_path, packages, held_out=4)
    assert all_files(tmp_path) == before
    run(tmp_path, packages, held_out=4, force=True)
    assert len(lines(tmp_path / "finetune" / "test.wrd")) == 4


@pytest.mark.parametrize(
    ("num_left", "message"),
    [
        (0, r"\d+ different English texts are too few for --held-out \d+ and --valid 1: lower them"),
        (1, r"the letter . of a (valid|test) prompt is in no training prompt"),
    ],
)
def test_too_many_are_held_out(packages, tmp_path, num_left, message):
    num_texts = len({normalise(ENGLISH[name]) for name in _learnable()})
    with pytest.raises(InputError, match=message):
        run(tmp_path, packages, held_out=num_texts - 1 - num_left, num_valid=1)
    assert not (tmp_path / "finetune").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ["es"]}, "--languages must include en"),
        ({"languages": ["en", "en"]}, "twice"),
        ({"languages": ["en", "cy"]}, r"Debian has no prompts in 'cy': choose --languages from en es fr it ru"),
        ({"languages": ["en", "fr"]}, "no .g722 files of voice fr_CA_f_June"),
        ({"source": "synthesiser"}, "--packages is of no use"),
        ({"held_out": 0}, "--held-out 0 must be 1 or more"),
        ({"num_valid": -1}, "--valid -1 must be 1 or more"),
        ({"min_seconds": float("nan")}, "--min-seconds nan must be"),
    ],
)
def test_options_that_cannot_be_met(packages, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, packages, **options)


def test_missing_codec_is_named(packages, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "G722", None)
    with pytest.raises(InputError, match=r"G722 is missing: pip install '.*\[quickstart\]'"):
        run(tmp_path, packages)


# Packages: dpkg is the real one; apt-get is a script that hands out files.


def build_debs(packages: Path, folder: Path, languages: tuple[str, ...]) -> None:
    """.deb files of the imitated packages, with the recordings in one and the transcripts in the other."""
    folder.mkdir()
    for language in languages:
        for suffix, part in (("-g722", "asterisk"), ("", "doc")):
            name = f"asterisk-core-sounds-{language}{suffix}"
            tree = folder / "tree"
            (tree / "DEBIAN").mkdir(parents=True)
            (tree / "DEBIAN" / "control").write_text(
                f"Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"
            )
            shutil.copytree(packages / "usr/share" / part, tree / "usr/share" / part)
            command = ["dpkg-deb", "--build", "-Znone", str(tree), str(folder / f"{name}_1.0-1_all.deb")]
            subprocess.run(command, check=True, capture_output=True)
            shutil.rmtree(tree)


needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")


def fake_apt_get(folder: Path, monkeypatch, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@needs_dpkg
def test_debs_are_fetched_unpacked_and_fetched_no_more(packages, tmp_path, monkeypatch):
    build_debs(packages, tmp_path / "debs", ("en", "es"))
    log = tmp_path / "log"
    hand_out = f'echo "$@" >> {log}; cp {tmp_path}/debs/*.deb .'
    fake_apt_get(tmp_path / "bin", monkeypatch, hand_out)
    run(tmp_path / "out", None, languages=["en", "es"], source="apt")
    asked = [word for word in log.read_text().split() if word.startswith("asterisk-")]
    names = [f"asterisk-core-sounds-{language}{suffix}" for language in ("en", "es") for suffix in ("-g722", "")]
    assert asked == names
    fake_apt_get(tmp_path / "bin", monkeypatch, "echo 'E: asked again' >&2; exit 100")
    before = all_files(tmp_path / "out")
    run(tmp_path / "out", None, languages=["en", "es"], source="apt")
    assert all_files(tmp_path / "out") == before
    run(tmp_path / "from debs", tmp_path / "debs", languages=["en", "es"])
    for name in ("finetune/test.ltr", "refused.tsv"):
        assert lines(tmp_path / "from debs" / name) == lines(tmp_path / "out" / name)


@needs_dpkg
def test_broken_and_missing_debs_are_named(packages, tmp_path):
    build_debs(packages, tmp_path / "debs", ("en",))
    with pytest.raises(InputError, match=r"holds no asterisk-core-sounds-es-g722_\*\.deb"):
        run(tmp_path / "out", tmp_path / "debs", languages=["en", "es"])
    deb = tmp_path / "debs" / "asterisk-core-sounds-en_1.0-1_all.deb"
    deb.write_bytes(deb.read_bytes()[:300])
    with pytest.raises(InputError, match=r"asterisk-core-sounds-en_1\.0-1_all\.deb cannot be unpacked"):
        run(tmp_path / "other", tmp_path / "debs", languages=["en"])
    unpacked = [path.name for path in (tmp_path / "other" / "packages" / "unpacked").iterdir()]
    assert unpacked == ["asterisk-core-sounds-en-g722_1.0-1_all"]


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    fake_apt_get(tmp_path / "bin", monkeypatch, "echo 'E: Unable to locate package x' >&2; exit 100")
    message = r"apt-get download failed \(Unable to locate package x\): .* run apt-get update first"
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", None, source="apt")
    assert list((tmp_path / "out" / "packages").iterdir()) == []


def test_without_packages_our_own_corpus_is_spoken(tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # neither apt-get nor dpkg
    monkeypatch.setattr(asterisk, "NUM_ENGLISH_PROMPTS", 40)
    monkeypatch.setattr(asterisk, "NUM_OTHER_PROMPTS", 4)
    arguments = ["--dest", str(tmp_path / "out"), "--held-out", "5", "--valid", "3"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "not Debian's recordings but espeak-ng speaks: apt-get is missing" in captured.err
    assert "found 64 clips" in captured.out
    before = all_files(tmp_path / "out")
    languages = {name.split("/")[0] for name in pretraining(tmp_path / "out")}
    assert languages == {"en", "es", "fr", "it", "ru", "cy", "eu"}
    train, test = (set(lines(tmp_path / "out" / "finetune" / f"{name}.wrd")) for name in ("train", "test"))
    assert len(test) == 5 and len(train) == 32 and not train & test
    shutil.rmtree(tmp_path / "out" / "audio" / "cy")
    assert main(arguments) == 0
    assert all_files(tmp_path / "out") == before  # spoken again, the same speech
    assert main([*arguments, "--source", "apt"]) == 1
    assert "error: apt-get is missing" in capsys.readouterr().err


# Transcripts and texts


def test_transcripts_with_the_oddities_of_debians():
    content = "\ufeff; a comment\n\na: Ciao: bello\r\n dir-welcome: \nno colon\na: again\n ; b: no\nc:d\n".encode()
    assert parse_transcripts(content) == {"a": "Ciao: bello", "c": "d"}


@pytest.mark.parametrize("language", PROMPTS)
def test_prompts_are_many_different_and_always_the_same(language):
    number = asterisk.NUM_ENGLISH_PROMPTS if language == "en" else asterisk.NUM_OTHER_PROMPTS
    prompts = compose_prompts(language, number)
    assert len(set(prompts)) == number
    assert prompts == compose_prompts(language, number)
    assert not any("{" in prompt or "|" in prompt for prompt in prompts)
    assert len({prompt.split()[0] for prompt in prompts}) >= 3  # every template takes part


def test_english_prompts_have_different_texts_of_all_letters():
    texts = [normalise(prompt) for prompt in compose_prompts("en", asterisk.NUM_ENGLISH_PROMPTS)]
    assert len(set(texts)) == len(texts)
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ'") <= set("".join(texts))


def test_prompts_that_cannot_be_composed():
    with pytest.raises(InputError, match="no prompts in language 'xx': there are en, es"):
        compose_prompts("xx", 1)
    with pytest.raises(InputError, match=r"only \d+ prompts can be composed in 'cy', not 100000"):
        compose_prompts("cy", 100000)
