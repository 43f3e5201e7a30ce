"""The scan of a folder: broken, odd and vanishing files, awkward names. Every file is kept or named with a reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import corpus_command, corpus_writer, lengths, lines, refused, spoken, write_audio

from summarymixing_fairseq.corpora import folder as make_manifest
from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.audio.scan import find_audio, read_clips
from summarymixing_fairseq.corpora.writing.options import AudioRules, ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("folder")
prepare = corpus_writer("folder")

SPOKEN = 40000
SPEECH = spoken(SPOKEN)
GARBAGE = bytes(np.random.RandomState(7).randint(0, 256, 2**17, dtype=np.uint8))
ID3 = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)


def kept_and_refused(root: Path, dest: Path, **options) -> tuple[dict[str, int], dict[str, str], str]:
    """Rows, reasons and the summary of `prepare`; everything that was found is in one of the two, once."""
    summary = prepare(root, dest, **{"valid_fraction": 0, **options})
    kept, reasons = lengths(dest / "train.tsv"), dict(refused(dest))
    assert len(lines(dest / "train.tsv")) == len(kept) + 1 and len(refused(dest)) == len(reasons)
    assert not kept.keys() & reasons.keys()
    num_found = int(re.match(r"found ([\d,]+) clips", summary)[1].replace(",", ""))
    assert len(kept) + len(reasons) == num_found
    counts = [int(count.replace(",", "")) for count in re.findall(r"^refused ([\d,]+):", summary, re.MULTILINE)]
    assert sum(counts) == len(reasons)
    return kept, reasons, summary


@pytest.fixture
def broken(tmp_path) -> Path:
    """Good files, what is no audio, and one of each kind that is broken."""
    root = tmp_path / "audio"
    whole = write_audio(root / "good.flac", SPEECH)
    write_audio(root / "deep" / "кто" / "ein Füßchen.FLAC", SPEECH)
    write_audio(root / ".hidden" / "a.flac", SPEECH)
    (root / "notes.txt").write_text("not audio")
    (root / "text.wav").write_text("this is no audio")
    write_audio(root / "nothing.wav", 0)
    mp3 = write_audio(root / "cut.mp3", 64000)
    (root / "cut.mp3").write_bytes(mp3[: len(mp3) // 2])
    (root / "zero.flac").touch()
    (root / "zero.wav").touch()
    (root / "cut in the middle.flac").write_bytes(whole[: len(whole) // 2])
    (root / "cut in the header.flac").write_bytes(whole[:30])
    (root / "cut in its last frame.flac").write_bytes(whole[:-3])
    middle = len(whole) // 2
    (root / "garbage in the middle.flac").write_bytes(whole[:middle] + GARBAGE[:500] + whole[middle + 500 :])
    (root / "garbage.flac").write_bytes(GARBAGE)
    (root / "folder.flac").mkdir()
    write_audio(root / "folder.flac" / "inside.flac", SPEECH)
    not_finite = SPEECH.copy()
    not_finite[5] = np.nan
    write_audio(root / "nan.wav", not_finite, subtype="FLOAT")
    not_finite[5] = np.inf
    write_audio(root / "inf.wav", not_finite, subtype="FLOAT")
    write_audio(root / "silence.flac", np.zeros(SPOKEN))
    write_audio(root / "clipped.flac", np.clip(SPEECH * 50, -1, 1))
    return root


BY_HEADER = {
    "cut in its last frame.flac": "unreadable or truncated",
    "zero.flac": "empty file",
    "zero.wav": "empty file",
    "cut in the middle.flac": "unreadable or truncated",
    "cut in the header.flac": "unreadable or truncated",
    "garbage.flac": "unreadable or truncated",
    "text.wav": "unreadable or truncated",
    "nothing.wav": "no samples",
    "cut.mp3": "truncated",
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


@pytest.mark.parametrize("verify", [False, True])
def test_broken_files(broken, tmp_path, verify):
    kept, refused, summary = kept_and_refused(broken, tmp_path / "out", rules=AudioRules(verify=verify))
    assert reasons_match(refused, {**BY_HEADER, **(BY_DECODING if verify else {})}), refused
    usable = ["good.flac", "folder.flac/inside.flac", "deep/кто/ein Füßchen.FLAC", *(() if verify else BY_DECODING)]
    assert kept == dict.fromkeys(usable, SPOKEN)
    assert (tmp_path / "out" / "train.tsv").read_text("utf-8").startswith(f"{broken}\n")
    told = ["refused 5: unreadable or truncated, e.g. cut in ", "refused 2: empty file, e.g. zero.flac"]
    if verify:
        told += ["refused 2: samples that are not finite numbers, e.g. inf.wav", "refused 1: silence (nothing above "]
    assert all(line in summary for line in told)


def test_sound_just_above_silence_and_just_below_clipping_is_kept(tmp_path):
    quiet = SPEECH / np.abs(SPEECH).max()
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


def test_names(tmp_path):
    root = tmp_path / "audio"
    usable = [
        *("two words.flac", "it's.flac", 'a "quoted" one.flac', "back\\slash.flac", "%s{0}$HOME`ls`.flac", "-n.flac"),
        *("*.flac", "~.flac", "a;touch x.flac", "$(touch x).flac", "a|touch x.flac", "a&&touch x.flac", "> x.flac"),
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
    whole = write_audio(tmp_path / "any.flac", SPEECH)
    for name in [*usable, *unusable]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(whole)
    kept, refused, summary = kept_and_refused(root, tmp_path / "out")
    assert kept == dict.fromkeys(usable, SPOKEN)
    assert refused == dict(unusable.values())
    assert "refused 4: name with a tab or line break" in summary
    for path in kept:
        assert soundfile.info(os.path.join(root, path)).frames == SPOKEN


def test_a_root_with_a_colon_takes_the_endings_that_fairseq_knows(tmp_path):
    for name in ("a.wav", "b.flac", "c.mp3"):
        write_audio(tmp_path / "12:30" / name)
    kept, refused, _ = kept_and_refused(tmp_path / "12:30", tmp_path / "out")
    assert kept.keys() == {"a.wav", "b.flac"} and refused["c.mp3"].startswith("name with a colon")


def test_loops_of_links_and_things_that_are_no_files(tmp_path):
    root = tmp_path / "audio"
    write_audio(root / "one" / "a.flac", SPEECH)
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
def test_no_permission(tmp_path):
    root = tmp_path / "audio"
    write_audio(root / "good.flac", SPEECH)
    write_audio(root / "closed.flac", SPEECH)
    write_audio(root / "closed" / "inside.flac", SPEECH)
    (root / "closed.flac").chmod(0)
    (root / "closed").chmod(0)
    try:
        kept, refused, _ = kept_and_refused(root, tmp_path / "out")
    finally:
        (root / "closed").chmod(0o700)
    assert kept == {"good.flac": SPOKEN}
    assert refused == {"closed.flac": "permission denied", "closed": "folder cannot be read: Permission denied"}


def test_files_that_vanish_or_change_their_kind_between_listing_and_reading(tmp_path, monkeypatch):
    root = tmp_path / "audio"
    for name in ("a", "b", "c", "d"):
        write_audio(root / f"{name}.flac", SPEECH)
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


def test_sample_formats_and_channels(tmp_path):
    for name, (channels, subtype) in ODD_FORMATS.items():
        write_audio(tmp_path / "audio" / name, np.stack([SPEECH] * channels, 1), subtype=subtype)
    another = "flac by another name.wav"
    (tmp_path / "audio" / another).write_bytes((tmp_path / "audio" / "stereo.flac").read_bytes())
    for verify in (False, True):
        dest = tmp_path / f"out {verify}"
        kept, refused, _ = kept_and_refused(tmp_path / "audio", dest, rules=AudioRules(verify=verify))
        assert not refused
        assert kept == dict.fromkeys([*ODD_FORMATS, another], SPOKEN)


def test_mixed_sample_rates(tmp_path):
    expected = {8000: 80000, 11025: 58050, 16000: 40000, 22050: 29025, 44100: 14513, 48000: 13334}
    for rate_hz in expected:
        write_audio(tmp_path / "audio" / f"{rate_hz}.flac", SPEECH, rate_hz)
    kept, refused, summary = kept_and_refused(tmp_path / "audio", tmp_path / "out")
    assert not refused
    assert kept == {f"{rate_hz}.flac": num_samples for rate_hz, num_samples in expected.items()}
    assert "1 files at 44100 Hz: " in summary
    rules = AudioRules(other_rates="refuse")
    write_audio(tmp_path / "audio" / "other ending.wav", SPEECH)
    kept, refused, summary = kept_and_refused(tmp_path / "audio", tmp_path / "strict", rules=rules, extensions=["FLAC"])
    assert kept == {"16000.flac": 40000}
    assert refused["8000.flac"] == "sample rate 8000 Hz, not 16000 Hz (resample it first)"
    assert "refused 1: sample rate 48000 Hz, not 16000 Hz (resample it first), e.g. 48000.flac" in summary


def test_tags_and_garbage_before_the_first_frame_or_after_the_last(tmp_path):
    root = tmp_path / "audio"
    (root / "tag at the end.flac").write_bytes(write_audio(root / "tag at the end.flac", SPEECH) + b"TAG" + bytes(125))
    whole = write_audio(root / "plain.mp3", SPEECH)
    (root / "tag.mp3").write_bytes(ID3 + whole)
    (root / "tag at the end.mp3").write_bytes(whole + b"TAG" + bytes(125))
    (root / "garbage.mp3").write_bytes(GARBAGE[:1000] + whole)
    (root / "tag and zeros.mp3").write_bytes(ID3 + bytes(1000) + whole)
    (root / "too much.mp3").write_bytes(GARBAGE[:70000] + whole)  # the decoder searches 64 KiB
    (root / "only a tag.mp3").write_bytes(ID3)
    kept, refused, _ = kept_and_refused(root, tmp_path / "out")
    assert kept == dict.fromkeys(
        ("plain.mp3", "tag.mp3", "tag at the end.mp3", "tag at the end.flac", "garbage.mp3", "tag and zeros.mp3"),
        SPOKEN,
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
def test_a_flac_file_cut_anywhere_is_refused(tmp_path, kind):
    samples = {"speech": SPEECH, "silence": np.zeros(SPOKEN), "stereo": np.stack([SPEECH, -SPEECH], 1)}[kind]
    whole = write_audio(tmp_path / "a.flac", samples)
    assert read_clip("a.flac", str(tmp_path), AudioRules()) == Clip("a.flac", SPOKEN)
    for cut in {*np.linspace(0, len(whole) - 1, 60).astype(int), len(whole) - 2, len(whole) - 20}:
        (tmp_path / "a.flac").write_bytes(whole[:cut])
        assert isinstance(read_clip("a.flac", str(tmp_path), AudioRules()), Refusal), cut


def test_lengths_allowed(tmp_path):
    for seconds in (1, 2, 3):
        write_audio(tmp_path / "audio" / f"{seconds}.wav", 48000 * seconds, 48000)
    summary = prepare(tmp_path / "audio", tmp_path, valid_fraction=0, rules=AudioRules(min_seconds=1.5, max_seconds=2))
    assert lengths(tmp_path / "train.tsv") == {"2.wav": 32000}
    assert "refused 1: shorter than 1.5 s, e.g. 1.wav" in summary
    assert "refused 1: longer than 2 s, e.g. 3.wav" in summary


def test_linked_files_and_folders_are_found_once(tmp_path):
    write_audio(tmp_path / "elsewhere" / "deep" / "a.flac")
    root = tmp_path / "audio"
    write_audio(root / "b.flac")
    (root / "link.flac").symlink_to(tmp_path / "elsewhere" / "deep" / "a.flac")
    for name in ("one", "two"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    refusals: list[Refusal] = []
    found = find_audio(root, ManifestOptions(tmp_path, AudioRules(allow_outside_root=True)), refusals)
    assert found == ["b.flac", "link.flac", "one/deep/a.flac"] and not refusals


def test_links_out_of_the_folder_are_refused(tmp_path, capsys):
    write_audio(tmp_path / "elsewhere" / "a.flac")
    root = tmp_path / "audio"
    write_audio(root / "deep" / "b.flac")
    (root / "inside.flac").symlink_to("deep/b.flac")
    (root / "file.flac").symlink_to(tmp_path / "elsewhere" / "a.flac")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    write_audio(tmp_path / "audio2" / "c.flac")  # its path begins as the root's does
    (root / "sibling.flac").symlink_to(tmp_path / "audio2" / "c.flac")
    (root / "notes.txt").symlink_to("/etc/passwd")
    (tmp_path / "linked").symlink_to(root)  # the folder itself may be a link
    options = ["--valid-fraction", "0", "--workers", "1"]
    for folder in (root, tmp_path / "linked"):
        dest = tmp_path / f"out {folder.name}"
        assert main([str(folder), "--dest", str(dest), *options]) == 0
        assert lengths(dest / "train.tsv").keys() == {"deep/b.flac", "inside.flac"}
        assert (dest / "refused.tsv").read_text() == (
            "file.flac\tlink out of the root (--allow-outside-root keeps it)\n"
            "folder\tlink out of the root (--allow-outside-root keeps it)\n"
            "sibling.flac\tlink out of the root (--allow-outside-root keeps it)\n"
        )
    assert main([str(root), "--dest", str(tmp_path / "all"), *options, "--allow-outside-root"]) == 0
    assert lengths(tmp_path / "all" / "train.tsv").keys() == {
        "deep/b.flac",
        "inside.flac",
        "file.flac",
        "folder/a.flac",
        "sibling.flac",
    }
    assert not (tmp_path / "all" / "refused.tsv").exists()


@pytest.mark.parametrize(
    "path", ["../elsewhere/a.flac", "deep/../../elsewhere/a.flac", "file.flac", "folder/a.flac", "ABSOLUTE"]
)
def test_paths_of_a_corpus_that_lead_out_are_refused_unless_allowed(tmp_path, path):
    write_audio(tmp_path / "elsewhere" / "a.flac")
    root = tmp_path / "audio"
    (root / "deep").mkdir(parents=True)
    (root / "file.flac").symlink_to(tmp_path / "elsewhere" / "a.flac")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    path = str(tmp_path / "elsewhere" / "a.flac") if path == "ABSOLUTE" else path
    refusals: list[Refusal] = []
    assert not read_clips(root, [path], ManifestOptions(tmp_path / "out"), refusals)
    assert "out of the root (--allow-outside-root keeps it)" in refusals.pop().reason
    allowed = ManifestOptions(tmp_path / "out", AudioRules(allow_outside_root=True))
    (clip,) = read_clips(root, [path], allowed, refusals)
    assert clip.path == path and not refusals


def test_audio_that_is_passed_over_is_counted_by_ending(tmp_path):
    for name in ("a.m4a", "b.M4A", "c.aiff", "d.pdf", ".e.m4a"):
        write_audio(tmp_path / "audio" / "x.wav")
        (tmp_path / "audio" / name).touch()
    summary = prepare(tmp_path / "audio", tmp_path / "out", valid_fraction=0)
    assert (
        "passed over by ending: 2 files: m4a, 1 file: aiff (convert them to flac or wav; --ext reads aiff)" in summary
    )
    (tmp_path / "audio" / "x.wav").unlink()
    with pytest.raises(InputError, match=r"no audio below .*; passed over by ending: 2 files: m4a"):
        prepare(tmp_path / "audio", tmp_path / "out2")


def test_a_manifest_of_other_audio_is_found_before_any_is_read(tmp_path, monkeypatch):
    for name in ("one", "two"):
        write_audio(tmp_path / name / "a.wav")
    prepare(tmp_path / "one", tmp_path / "out", valid_fraction=0)
    monkeypatch.setattr(make_manifest, "read_clips", None)  # not called
    monkeypatch.setattr(make_manifest, "find_audio", None)
    with pytest.raises(InputError, match=r"train\.tsv is of .*one: give --force"):
        prepare(tmp_path / "two", tmp_path / "out", valid_fraction=0)
    with pytest.raises(InputError, match="is of whole files: give --force to replace it by segments"):
        prepare(tmp_path / "one", tmp_path / "out", valid_fraction=0, vad=True)
    monkeypatch.undo()
    prepare(tmp_path / "one", tmp_path / "out", valid_fraction=0)
    prepare(tmp_path / "two", tmp_path / "out", valid_fraction=0, force=True)


@pytest.mark.parametrize(("name", "message"), [("file", "is no directory"), ("", "no audio below .* flac, wav, ogg")])
def test_a_root_without_audio(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / name, tmp_path / "out")
