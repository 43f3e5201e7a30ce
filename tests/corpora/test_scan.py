"""The scan of a folder: broken, odd and vanishing files, awkward names. Every file is kept or named with a reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import corpus_writer, lengths, lines, refused, write_audio
from synthesiser import speak

from summarymixing_fairseq.corpora import folder as make_manifest
from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.audio.scan import read_clips
from summarymixing_fairseq.corpora.writing.options import AudioRules, ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal

prepare = corpus_writer("folder")

SPOKEN = 40000
GARBAGE = bytes(np.random.RandomState(7).randint(0, 256, 2**17, dtype=np.uint8))
ID3 = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return np.resize(speak("nothing is lost in silence"), SPOKEN)


def kept_and_refused(root: Path, dest: Path, **options) -> tuple[dict[str, int], dict[str, str], str]:
    """Rows, reasons and the summary of `prepare`; everything that was found is in one of the two, once."""
    summary = prepare(root, dest, **{"valid_fraction": 0, **options})
    kept, reasons = lengths(dest / "train.tsv"), dict(refused(dest))
    assert len(lines(dest / "train.tsv")) == len(kept) + 1 and len(refused(dest)) == len(reasons)
    assert not kept.keys() & reasons.keys()
    num_found = int(re.match(r"found ([\d,]+) audio files", summary)[1].replace(",", ""))
    assert len(kept) + len(reasons) == num_found
    counts = [int(count.replace(",", "")) for count in re.findall(r"^refused ([\d,]+):", summary, re.MULTILINE)]
    assert sum(counts) == len(reasons)
    return kept, reasons, summary


@pytest.fixture
def broken(tmp_path, speech) -> Path:
    """One good file and one of each kind that is broken."""
    root = tmp_path / "audio"
    whole = write_audio(root / "good.flac", speech)
    (root / "zero.flac").touch()
    (root / "zero.wav").touch()
    (root / "cut in the middle.flac").write_bytes(whole[: len(whole) // 2])
    (root / "cut in the header.flac").write_bytes(whole[:30])
    (root / "cut in its last frame.flac").write_bytes(whole[:-3])
    middle = len(whole) // 2
    (root / "garbage in the middle.flac").write_bytes(whole[:middle] + GARBAGE[:500] + whole[middle + 500 :])
    (root / "garbage.flac").write_bytes(GARBAGE)
    (root / "folder.flac").mkdir()
    write_audio(root / "folder.flac" / "inside.flac", speech)
    not_finite = speech.copy()
    not_finite[5] = np.nan
    write_audio(root / "nan.wav", not_finite, subtype="FLOAT")
    not_finite[5] = np.inf
    write_audio(root / "inf.wav", not_finite, subtype="FLOAT")
    write_audio(root / "silence.flac", np.zeros(SPOKEN))
    write_audio(root / "clipped.flac", np.clip(speech * 50, -1, 1))
    return root


BY_HEADER = {
    "cut in its last frame.flac": "unreadable or truncated",
    "zero.flac": "empty file",
    "zero.wav": "empty file",
    "cut in the middle.flac": "unreadable or truncated",
    "cut in the header.flac": "unreadable or truncated",
    "garbage.flac": "unreadable or truncated",
}
BY_DECODING = {
    "garbage in the middle.flac": "broken (found by decoding after 0.00 s)",
    "nan.wav": "samples that are not finite numbers",
    "inf.wav": "samples that are not finite numbers",
    "silence.flac": "silence (nothing above -60 dB)",
    "clipped.flac": "clipped (over 1.0% of samples at full scale)",
}


def reasons_match(refused: dict[str, str], expected: dict[str, str]) -> bool:
    return refused.keys() == expected.keys() and all(refused[path].startswith(expected[path]) for path in expected)


def test_broken_files_by_their_headers(broken, tmp_path):
    kept, refused, summary = kept_and_refused(broken, tmp_path / "out")
    assert reasons_match(refused, BY_HEADER), refused
    assert kept == dict.fromkeys([*BY_DECODING, "good.flac", "folder.flac/inside.flac"], SPOKEN)
    assert "refused 4: unreadable or truncated, e.g. cut in " in summary
    assert "refused 2: empty file, e.g. zero.flac" in summary


def test_broken_files_by_decoding(broken, tmp_path):
    kept, refused, summary = kept_and_refused(broken, tmp_path / "out", rules=AudioRules(verify=True))
    assert reasons_match(refused, {**BY_HEADER, **BY_DECODING}), refused
    assert kept == {"good.flac": SPOKEN, "folder.flac/inside.flac": SPOKEN}
    assert "refused 2: samples that are not finite numbers, e.g. inf.wav" in summary
    assert "refused 1: silence (nothing above -60 dB), e.g. silence.flac" in summary


def test_sound_just_above_silence_and_just_below_clipping_is_kept(tmp_path, speech):
    quiet = speech / np.abs(speech).max()
    write_audio(tmp_path / "audio" / "quiet.flac", quiet * 0.0012)
    write_audio(tmp_path / "audio" / "too quiet.flac", quiet * 0.0008)
    loud = quiet * 0.5
    loud[:400] = 1.0  # exactly 1 %
    write_audio(tmp_path / "audio" / "loud.flac", loud)
    loud[:401] = 1.0
    write_audio(tmp_path / "audio" / "too loud.flac", loud)
    kept, refused, _ = kept_and_refused(tmp_path / "audio", tmp_path / "out", rules=AudioRules(verify=True))
    assert kept.keys() == {"quiet.flac", "loud.flac"} and refused.keys() == {"too quiet.flac", "too loud.flac"}
    rules = AudioRules(verify=True, max_clipped=1)
    assert "too loud.flac" in kept_and_refused(tmp_path / "audio", tmp_path / "all", rules=rules)[0]


def test_names(tmp_path, speech):
    root = tmp_path / "audio"
    usable = [
        *("two words.flac", "it's.flac", 'a "quoted" one.flac', "back\\slash.flac", "%s{0}$HOME`ls`.flac", "-n.flac"),
        *("中文/語音.flac", "кириллица.flac", "עברית.flac", "مرحبا.flac", "한국어.flac"),
        *("e\u0301 decomposed.flac", "🎤.flac", "folder with spaces /a.flac", "trailing .flac", "UPPER.FLAC"),
    ]
    tab = "name with a tab or line break (rename it: it cannot be written in a manifest)"
    unusable = {  # as found, as printed, why
        "tab\there.flac": ("tab\\there.flac", tab),
        "line\nbreak.flac": ("line\\nbreak.flac", tab),
        "carriage\rreturn.flac": ("carriage\\rreturn.flac", tab),
        "folder\twith tab/a.flac": ("folder\\twith tab/a.flac", tab),
        " leading space.flac": (" leading space.flac", "name begins with a space (rename it: fairseq strips it)"),
        "colon:12.opus": (
            "colon:12.opus",
            "name with a colon (rename it: fairseq takes what follows for a position in a zip file)",
        ),
        os.fsdecode(b"latin-1 \xe9.flac"): ("latin-1 \\udce9.flac", "name is not valid UTF-8 (rename it)"),
    }
    whole = write_audio(tmp_path / "any.flac", speech)
    for name in [*usable, *unusable]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(whole)
    kept, refused, summary = kept_and_refused(root, tmp_path / "out")
    assert kept == dict.fromkeys(usable, SPOKEN)
    assert refused == dict(unusable.values())
    assert "refused 4: name with a tab or line break" in summary
    for path in kept:
        assert soundfile.info(os.path.join(root, path)).frames == SPOKEN


def test_loops_of_links_and_things_that_are_no_files(tmp_path, speech):
    root = tmp_path / "audio"
    write_audio(root / "one" / "a.flac", speech)
    (root / "one" / "up").symlink_to(root)
    (root / "one" / "self").symlink_to("self")
    (root / "self.flac").symlink_to("self.flac")
    (root / "ping.flac").symlink_to("pong.flac")
    (root / "pong.flac").symlink_to("ping.flac")
    (root / "dead.flac").symlink_to("nowhere.flac")
    os.mkfifo(root / "pipe.flac")
    kept, refused, summary = kept_and_refused(root, tmp_path / "out")
    assert kept == {"one/a.flac": SPOKEN}
    assert refused == {
        **dict.fromkeys(("self.flac", "ping.flac", "pong.flac", "dead.flac"), "dead link"),
        "pipe.flac": "no regular file",
    }
    assert "refused 4: dead link, e.g. dead.flac" in summary


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path, speech):
    root = tmp_path / "audio"
    write_audio(root / "good.flac", speech)
    write_audio(root / "closed.flac", speech)
    write_audio(root / "closed" / "inside.flac", speech)
    (root / "closed.flac").chmod(0)
    (root / "closed").chmod(0)
    try:
        kept, refused, _ = kept_and_refused(root, tmp_path / "out")
    finally:
        (root / "closed").chmod(0o700)
    assert kept == {"good.flac": SPOKEN}
    assert refused == {"closed.flac": "permission denied", "closed": "folder cannot be read: Permission denied"}


def test_files_that_vanish_or_change_their_kind_between_listing_and_reading(tmp_path, speech, monkeypatch):
    root = tmp_path / "audio"
    for name in ("a", "b", "c", "d"):
        write_audio(root / f"{name}.flac", speech)
    listed = make_manifest.find_audio

    def find_and_lose(*args, **options):
        found = listed(*args, **options)
        for name in ("b", "c", "d"):
            (root / f"{name}.flac").unlink()
        (root / "c.flac").mkdir()
        (root / "d.flac").symlink_to("nowhere")
        return found

    monkeypatch.setattr(make_manifest, "find_audio", find_and_lose)
    kept, refused, _ = kept_and_refused(root, tmp_path / "out")
    assert kept == {"a.flac": SPOKEN}
    assert refused == {"b.flac": "no such file", "c.flac": "a folder, not a file", "d.flac": "dead link"}


# Number of channels and sample format, by the name of the file.
ODD_FORMATS = {
    "24 bit.flac": (1, "PCM_24"),
    "8 bit.flac": (1, "PCM_S8"),
    "8 bit.wav": (1, "PCM_U8"),
    "32 bit.wav": (1, "PCM_32"),
    "float.wav": (1, "FLOAT"),
    "double.wav": (1, "DOUBLE"),
    "mu law.wav": (1, "ULAW"),
    "stereo.flac": (2, None),
    "six channels.wav": (6, None),
    "eight channels.flac": (8, None),
    "vorbis.ogg": (1, None),
}


def test_sample_formats_and_channels(tmp_path, speech):
    for name, (channels, subtype) in ODD_FORMATS.items():
        write_audio(tmp_path / "audio" / name, np.stack([speech] * channels, 1), subtype=subtype)
    another = "flac by another name.wav"
    (tmp_path / "audio" / another).write_bytes((tmp_path / "audio" / "stereo.flac").read_bytes())
    for verify in (False, True):
        dest = tmp_path / f"out {verify}"
        kept, refused, _ = kept_and_refused(tmp_path / "audio", dest, rules=AudioRules(verify=verify))
        assert not refused
        assert kept == dict.fromkeys([*ODD_FORMATS, another], SPOKEN)


def test_mixed_sample_rates(tmp_path, speech):
    lengths = {8000: 80000, 11025: 58050, 16000: 40000, 22050: 29025, 44100: 14513, 48000: 13334}
    for rate_hz in lengths:
        write_audio(tmp_path / "audio" / f"{rate_hz}.flac", speech, rate_hz)
    kept, refused, summary = kept_and_refused(tmp_path / "audio", tmp_path / "out")
    assert not refused
    assert kept == {f"{rate_hz}.flac": num_samples for rate_hz, num_samples in lengths.items()}
    assert "1 files at 44100 Hz: " in summary
    rules = AudioRules(other_rates="refuse")
    kept, refused, summary = kept_and_refused(tmp_path / "audio", tmp_path / "strict", rules=rules)
    assert kept == {"16000.flac": 40000}
    assert refused["8000.flac"] == "sample rate 8000 Hz, not 16000 Hz (resample it first)"
    assert "refused 1: sample rate 48000 Hz, not 16000 Hz (resample it first), e.g. 48000.flac" in summary


def test_mp3_with_garbage_and_tags_before_its_first_frame(tmp_path, speech):
    root = tmp_path / "audio"
    whole = write_audio(root / "plain.mp3", speech)
    (root / "tag.mp3").write_bytes(ID3 + whole)
    (root / "tag at the end.mp3").write_bytes(whole + b"TAG" + bytes(125))
    (root / "garbage.mp3").write_bytes(GARBAGE[:1000] + whole)
    (root / "tag and zeros.mp3").write_bytes(ID3 + bytes(1000) + whole)
    (root / "too much.mp3").write_bytes(GARBAGE[:70000] + whole)  # the decoder searches 64 KiB
    (root / "only a tag.mp3").write_bytes(ID3)
    kept, refused, _ = kept_and_refused(root, tmp_path / "out")
    assert kept == dict.fromkeys(
        ("plain.mp3", "tag.mp3", "tag at the end.mp3", "garbage.mp3", "tag and zeros.mp3"), SPOKEN
    )
    assert reasons_match(refused, dict.fromkeys(("too much.mp3", "only a tag.mp3"), "unreadable or truncated")), refused
    for path in kept:
        assert len(soundfile.read(root / path)[0]) == SPOKEN


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\tb.flac", "name with a tab"),
        ("a\rb.flac", "name with a tab"),
        (" a.flac", "name begins with a space"),
        ("12:30.mp3", "name with a colon"),
        ("\udce9.flac", "name is not valid UTF-8"),
        ("a\0b.flac", "name with a NUL byte"),
        ("x" * 300 + ".flac", "no such file"),
        ("", "a folder, not a file"),
        ("/etc/passwd", "path that leads out of the root"),
    ],
)
def test_paths_that_a_corpus_names_but_no_walk_would_find(tmp_path, path, reason):
    for _ in range(2):  # the second time from the journal
        refusals: list[Refusal] = []
        assert not read_clips(tmp_path, [path], ManifestOptions(tmp_path), refusals)
        assert [one.path for one in refusals] == [path] and refusals[0].reason.startswith(reason)


@pytest.mark.parametrize("kind", ["speech", "silence", "stereo"])
def test_a_flac_file_cut_anywhere_is_refused(tmp_path, speech, kind):
    samples = {"speech": speech, "silence": np.zeros(SPOKEN), "stereo": np.stack([speech, -speech], 1)}[kind]
    whole = write_audio(tmp_path / "a.flac", samples)
    assert read_clip("a.flac", str(tmp_path), AudioRules()) == Clip("a.flac", SPOKEN)
    for cut in {*np.linspace(0, len(whole) - 1, 60).astype(int), len(whole) - 2, len(whole) - 20}:
        (tmp_path / "a.flac").write_bytes(whole[:cut])
        assert isinstance(read_clip("a.flac", str(tmp_path), AudioRules()), Refusal), cut


def test_a_flac_file_with_a_tag_after_its_end_is_kept(tmp_path, speech):
    whole = write_audio(tmp_path / "audio" / "a.flac", speech)
    (tmp_path / "audio" / "a.flac").write_bytes(whole + b"TAG" + bytes(125))
    assert kept_and_refused(tmp_path / "audio", tmp_path / "out")[0] == {"a.flac": SPOKEN}
