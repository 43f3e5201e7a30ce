"""Bad input to the scan: broken, odd and vanishing files, awkward names, killed runs. Nothing is lost silently."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthesiser import speak

from summarymixing_fairseq.corpora import folder as make_manifest
from summarymixing_fairseq.corpora.audio import audio_file, flac_end, journal
from summarymixing_fairseq.corpora.audio.audio_file import AudioRules
from summarymixing_fairseq.corpora.audio.flac_end import ends_as_promised
from summarymixing_fairseq.corpora.audio.scan import JOURNAL_NAME, forget_journal, read_clips
from summarymixing_fairseq.corpora.audio.segments import MAX_PAUSE_SECONDS, join
from summarymixing_fairseq.corpora.folder import prepare
from summarymixing_fairseq.corpora.writing.writer import Clip, Refusal, format_manifest, parse_manifest, path_problem

SPOKEN = 40000
GARBAGE = bytes(np.random.RandomState(7).randint(0, 256, 2**17, dtype=np.uint8))
ID3 = b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return np.resize(speak("nothing is lost in silence"), SPOKEN)


def write(path: Path, samples: np.ndarray, rate_hz: int = 16000, subtype: str | None = None) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path.read_bytes()


def kept_and_refused(root: Path, dest: Path, **options) -> tuple[dict[str, int], dict[str, str], str]:
    """Rows, reasons and the summary of `prepare`; everything that was found is in one of the two, once."""
    summary = prepare(root, dest, **{"valid_fraction": 0, **options})
    clips = parse_manifest((dest / "train.tsv").read_text("utf-8"))[1]
    kept = {clip.path: clip.num_samples for clip in clips}
    report = dest / "refused.tsv"
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    refused = dict(line.split("\t") for line in lines)
    assert len(clips) == len(kept) and len(lines) == len(refused) and not kept.keys() & refused.keys()
    num_found = int(re.match(r"found ([\d,]+) audio files", summary)[1].replace(",", ""))
    assert len(kept) + len(refused) == num_found
    counts = [int(count.replace(",", "")) for count in re.findall(r"^refused ([\d,]+):", summary, re.MULTILINE)]
    assert sum(counts) == len(refused)
    return kept, refused, summary


@pytest.fixture
def broken(tmp_path, speech) -> Path:
    """One good file and one of each kind that is broken."""
    root = tmp_path / "audio"
    whole = write(root / "good.flac", speech)
    (root / "zero.flac").touch()
    (root / "zero.wav").touch()
    (root / "cut in the middle.flac").write_bytes(whole[: len(whole) // 2])
    (root / "cut in the header.flac").write_bytes(whole[:30])
    (root / "cut in its last frame.flac").write_bytes(whole[:-3])
    middle = len(whole) // 2
    (root / "garbage in the middle.flac").write_bytes(whole[:middle] + GARBAGE[:500] + whole[middle + 500 :])
    (root / "garbage.flac").write_bytes(GARBAGE)
    (root / "folder.flac").mkdir()
    write(root / "folder.flac" / "inside.flac", speech)
    not_finite = speech.copy()
    not_finite[5] = np.nan
    write(root / "nan.wav", not_finite, subtype="FLOAT")
    not_finite[5] = np.inf
    write(root / "inf.wav", not_finite, subtype="FLOAT")
    write(root / "silence.flac", np.zeros(SPOKEN))
    write(root / "clipped.flac", np.clip(speech * 50, -1, 1))
    return root


BY_HEADER = {
    "zero.flac": "empty file",
    "zero.wav": "empty file",
    "cut in the middle.flac": "unreadable or truncated",
    "cut in the header.flac": "unreadable or truncated",
    "garbage.flac": "unreadable or truncated",
}
BY_DECODING = {
    "cut in its last frame.flac": "broken (found by decoding after 0.00 s)",
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
    assert "refused 3: unreadable or truncated, e.g. cut in the header.flac" in summary
    assert "refused 2: empty file, e.g. zero.flac" in summary


def test_broken_files_by_decoding(broken, tmp_path):
    kept, refused, summary = kept_and_refused(broken, tmp_path / "out", rules=AudioRules(verify=True))
    assert reasons_match(refused, {**BY_HEADER, **BY_DECODING}), refused
    assert kept == {"good.flac": SPOKEN, "folder.flac/inside.flac": SPOKEN}
    assert "refused 2: samples that are not finite numbers, e.g. inf.wav" in summary
    assert "refused 1: silence (nothing above -60 dB), e.g. silence.flac" in summary


def test_clipping_allowed(broken, tmp_path):
    kept, _, _ = kept_and_refused(broken, tmp_path / "out", rules=AudioRules(verify=True, max_clipped=1))
    assert "clipped.flac" in kept


def test_sound_just_above_silence_and_just_below_clipping_is_kept(tmp_path, speech):
    quiet = speech / np.abs(speech).max()
    write(tmp_path / "audio" / "quiet.flac", quiet * 0.0012)
    write(tmp_path / "audio" / "too quiet.flac", quiet * 0.0008)
    loud = quiet * 0.5
    loud[:400] = 1.0  # exactly 1 %
    write(tmp_path / "audio" / "loud.flac", loud)
    loud[:401] = 1.0
    write(tmp_path / "audio" / "too loud.flac", loud)
    kept, refused, _ = kept_and_refused(tmp_path / "audio", tmp_path / "out", rules=AudioRules(verify=True))
    assert kept.keys() == {"quiet.flac", "loud.flac"} and refused.keys() == {"too quiet.flac", "too loud.flac"}


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
    whole = write(tmp_path / "any.flac", speech)
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
    write(root / "one" / "a.flac", speech)
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
    write(root / "good.flac", speech)
    write(root / "closed.flac", speech)
    write(root / "closed" / "inside.flac", speech)
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
        write(root / f"{name}.flac", speech)
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


def test_a_file_that_vanishes_while_it_is_read_is_kept_with_its_length(tmp_path, speech, monkeypatch):
    write(tmp_path / "audio" / "a.flac", speech)

    def vanish(descriptor: int, num_samples: int) -> bool:
        os.unlink(tmp_path / "audio" / "a.flac")
        return False  # let the library seek

    monkeypatch.setattr(audio_file, "ends_as_promised", vanish)
    assert kept_and_refused(tmp_path / "audio", tmp_path / "out")[0] == {"a.flac": SPOKEN}


ODD_FORMATS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "24 bit.flac": lambda path, speech: write(path, speech, subtype="PCM_24"),
    "8 bit.flac": lambda path, speech: write(path, speech, subtype="PCM_S8"),
    "8 bit.wav": lambda path, speech: write(path, speech, subtype="PCM_U8"),
    "32 bit.wav": lambda path, speech: write(path, speech, subtype="PCM_32"),
    "float.wav": lambda path, speech: write(path, speech, subtype="FLOAT"),
    "double.wav": lambda path, speech: write(path, speech, subtype="DOUBLE"),
    "mu law.wav": lambda path, speech: write(path, speech, subtype="ULAW"),
    "stereo.flac": lambda path, speech: write(path, np.stack([speech] * 2, 1)),
    "six channels.wav": lambda path, speech: write(path, np.stack([speech] * 6, 1)),
    "eight channels.flac": lambda path, speech: write(path, np.stack([speech] * 8, 1)),
    "vorbis.ogg": lambda path, speech: write(path, speech),
    "flac by another name.wav": lambda path, speech: path.write_bytes(write(path.with_suffix(".flac"), speech)),
}


def test_sample_formats_and_channels(tmp_path, speech):
    for name, make in ODD_FORMATS.items():
        make(tmp_path / "audio" / name, speech)
    for verify in (False, True):
        dest = tmp_path / f"out {verify}"
        kept, refused, _ = kept_and_refused(tmp_path / "audio", dest, rules=AudioRules(verify=verify))
        assert not refused
        assert kept == dict.fromkeys([*ODD_FORMATS, "flac by another name.flac"], SPOKEN)


def test_mixed_sample_rates(tmp_path, speech):
    lengths = {8000: 80000, 11025: 58050, 16000: 40000, 22050: 29025, 44100: 14513, 48000: 13334}
    for rate_hz in lengths:
        write(tmp_path / "audio" / f"{rate_hz}.flac", speech, rate_hz)
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
    whole = write(root / "plain.mp3", speech)
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
        ("\udce9.flac", "name is not valid UTF-8"),
        ("a\0b.flac", "name with a NUL byte"),
        ("x" * 300 + ".flac", "no such file"),
        ("", "a folder, not a file"),
        ("../outside.flac", "path that leads out of the root"),
        ("a/../../outside.flac", "path that leads out of the root"),
        ("/etc/passwd", "path that leads out of the root"),
    ],
)
def test_paths_that_a_corpus_names_but_no_walk_would_find(tmp_path, path, reason):
    for _ in range(2):  # the second time from the journal
        clips, (refusal,) = read_clips(tmp_path, [path], AudioRules(), workers=1, dest=tmp_path)
        assert not clips and refusal.path == path and refusal.reason.startswith(reason)


# Manifest rows

names = st.text(min_size=1, max_size=20).map(lambda text: f"{text}.flac").filter(lambda text: not path_problem(text))
counts = st.integers(0, 2**40)
mixed_rows = st.lists(st.builds(Clip, names, counts, st.none() | counts), max_size=8)


@given(mixed_rows)
@example([Clip("a.flac", 1), Clip("a.flac", 1, 0), Clip("b c.flac", 2, 2**40)])
def test_rows_with_and_without_offset_survive_a_round_trip(clips):
    assert parse_manifest(format_manifest(Path("/data/some folder"), clips)) == ("/data/some folder", clips)


@given(mixed_rows)
def test_a_row_has_an_offset_only_where_its_clip_has_one(clips):
    lines = format_manifest(Path("/r"), clips).split("\n")
    assert lines[0] == "/r" and lines[-1] == "" and len(lines) == len(clips) + 2
    for line, clip in zip(lines[1:], clips):
        offset = [] if clip.offset is None else [str(clip.offset)]
        assert line.split("\t") == [clip.path, str(clip.num_samples), *offset]


# Segments

times = st.floats(0, 2000, allow_nan=False)
stretches = st.lists(st.tuples(times, times | st.floats(0, 60).map(lambda seconds: -seconds)), max_size=30).map(
    # a negative second number is a length: most stretches are short, as speech is, and some overlap
    lambda pairs: [(start, start - second if second <= 0 else second) for start, second in pairs]
)
TOLERANCE = 1e-9 * 2000


def uncovered(whole: tuple[float, float], parts: list[tuple[float, float]]) -> list[float]:
    """Lengths of what `parts` leave open of `whole`."""
    gaps, reached = [], whole[0]
    for start, end in sorted(parts):
        if end > reached:
            gaps.append(min(start, whole[1]) - reached)
            reached = end
    gaps.append(whole[1] - reached)
    return [gap for gap in gaps if gap > TOLERANCE]


@settings(max_examples=200, deadline=None)
@given(stretches, st.floats(0.5, 60))
@example([(0.0, 100.0), (101.0, 102.0)], 30.0)
@example([(0.0, 5e-324)], 30.0)
@example([(0.0, 10.0), (5.0, 20.0), (5.0, 20.0), (22.5, 23.0), (23.0, 23.0)], 30.0)
def test_joined_segments(speech_stretches, target_seconds):
    joined = join(speech_stretches, target_seconds)
    told = [(start, end) for start, end in speech_stretches if end > start]
    assert all(end > start for start, end in joined)
    assert all(end <= start + TOLERANCE for (_, end), (start, _) in zip(joined, joined[1:]))
    assert all(end - start <= target_seconds + TOLERANCE for start, end in joined)
    for stretch in told:
        assert not uncovered(stretch, joined)
    for segment in joined:
        assert all(gap <= MAX_PAUSE_SECONDS + TOLERANCE for gap in uncovered(segment, told))
    assert join(list(reversed(speech_stretches)), target_seconds) == joined


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.01, 2)), max_size=20), st.floats(5, 30))
def test_a_segment_ends_only_where_it_must(starts_and_lengths, target_seconds):
    told = [(start, start + length) for start, length in starts_and_lengths]
    joined = join(told, target_seconds)
    for (start, end), (next_start, _) in zip(joined, joined[1:]):
        # the stretch that the next segment begins with, or what of it is not yet told
        first_end = min(stop for begin, stop in told if begin <= next_start and stop > next_start)
        assert next_start - end > MAX_PAUSE_SECONDS or first_end - start > target_seconds


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], []),
        ([(1, 1)], []),
        ([(0, 10), (11, 20), (21, 30)], [(0, 30)]),
        ([(0, 10), (11, 20), (21, 30.5)], [(0, 20), (21, 30.5)]),
        ([(0, 10), (12, 20), (22.01, 25)], [(0, 20), (22.01, 25)]),
        ([(0, 75)], [(0, 25), (25, 50), (50, 75)]),
        ([(0, 4), (5, 80), (81, 82)], [(0, 4), (5, 30), (30, 55), (55, 82)]),
        ([(3, 9), (0, 5), (4, 6)], [(0, 9)]),
    ],
)
def test_segments_of_thirty_seconds(told, expected):
    assert join(told, 30) == expected


# The end of flac files


def promise_kept(path: Path, num_samples: int) -> bool:
    with open(path, "rb") as file:
        kept = ends_as_promised(file.fileno(), num_samples)
        assert file.tell() == 0
    return kept


@pytest.mark.parametrize("num_samples", [1, 15, 16, 17, 191, 192, 255, 4095, 4096, 4097, 8192, 12289, 40000])
@pytest.mark.parametrize("kind", ["speech", "noise", "silence"])
def test_whole_flac_files_end_as_promised(tmp_path, speech, num_samples, kind):
    samples = {
        "speech": speech,
        "noise": np.random.RandomState(7).uniform(-1, 1, SPOKEN),
        "silence": np.zeros(SPOKEN),
    }[kind][:num_samples]
    for rate_hz in (8000, 16000, 44100, 12345):
        for subtype in ("PCM_S8", "PCM_16", "PCM_24"):
            write(tmp_path / "a.flac", samples, rate_hz, subtype)
            assert promise_kept(tmp_path / "a.flac", num_samples), (rate_hz, subtype)
            assert not promise_kept(tmp_path / "a.flac", num_samples + 1)
    write(tmp_path / "a.flac", np.stack([samples, -samples], 1))
    assert promise_kept(tmp_path / "a.flac", num_samples)


@pytest.mark.parametrize("kind", ["speech", "silence", "stereo"])
def test_flac_files_cut_before_their_last_frame_do_not(tmp_path, speech, kind):
    path = tmp_path / "a.flac"
    samples = {"speech": speech, "silence": np.zeros(SPOKEN), "stereo": np.stack([speech, -speech], 1)}[kind]
    whole = write(path, samples)
    longest_frame = int.from_bytes(whole[15:18], "big")
    cuts = np.unique(np.linspace(0, len(whole) - longest_frame, 300).astype(int))
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert not promise_kept(path, SPOKEN), cut
    for cut in cuts[::30]:
        path.write_bytes(whole[:cut])
        assert isinstance(audio_file.read_clip("a.flac", str(tmp_path), AudioRules()), Refusal)


def test_a_flac_file_with_a_tag_after_its_end_is_kept(tmp_path, speech):
    whole = write(tmp_path / "audio" / "a.flac", speech)
    (tmp_path / "audio" / "a.flac").write_bytes(whole + b"TAG" + bytes(125))
    assert kept_and_refused(tmp_path / "audio", tmp_path / "out")[0] == {"a.flac": SPOKEN}


# Bytes that look like the marks of the format, among bytes that do not.
marks = st.sampled_from([b"\xff\xf8", b"\xff\xf9", b"\xff\xf8\xc9\x18", b"\xff\xf8\x69\x08\x00", b"\xff", b"\xfe"])
flac_like = st.lists(marks | st.binary(max_size=24), max_size=20).map(b"".join)
headers = st.binary(max_size=60) | st.builds(
    lambda start, longest, rest: b"fLaC\x80\x00\x00\x22" + start + longest + rest,
    st.binary(min_size=7, max_size=7),
    st.sampled_from([b"\x00\x00\x00", b"\x00\x00\x20", b"\x00\x40\x00", b"\xff\xff\xff"]),
    st.binary(min_size=24, max_size=24),
)


@settings(max_examples=200, deadline=None)
@given(headers, flac_like, st.integers(0, 2**36))
def test_garbage_never_raises_and_is_no_end(tmp_path_factory, header, rest, num_samples):
    path = tmp_path_factory.getbasetemp() / "garbage.flac"
    path.write_bytes(header + rest)
    assert promise_kept(path, num_samples) in (True, False)


@given(st.builds(lambda mark, rest: mark + rest, marks, st.binary(min_size=16, max_size=16)).map(lambda b: b[:16]))
@example(b"\xff\xf8\x79\x08\xfe" + b"\xbf" * 11)
def test_any_frame_header_can_be_read(header):
    end = flac_end._end_of_frame(header, 4096)
    assert end is None or end > 0


# The journal


class Killed(BaseException):
    """Stands for the end of a process: nothing catches it."""


class Tree:
    """Six files, of which one is broken, scanned in this process; counts what is read."""

    def __init__(self, folder: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch):
        self.root, self.dest = folder / "audio", folder / "out"
        self.paths = [f"{name}.flac" for name in "abcdef"]
        for number, path in enumerate(self.paths):
            write(self.root / path, speech[: 16000 + number])
        (self.root / "b.flac").write_bytes(b"")
        self.read: list[str] = []
        self.die_at: str | None = None
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(journal, "read_clip", self._read)

    def _read(self, path: str, root: str, rules: AudioRules) -> Clip | Refusal:
        if path == self.die_at:
            raise Killed
        self.read.append(path)
        return audio_file.read_clip(path, root, rules)

    def scan(self, rules: AudioRules | None = None, root: Path | None = None) -> list[str]:
        """Scan, and return what was read for it; results must be those of a scan without a journal."""
        self.read = []
        results = read_clips(root or self.root, self.paths, rules or AudioRules(), workers=1, dest=self.dest)
        read = [*self.read]
        assert results == read_clips(root or self.root, self.paths, rules or AudioRules(), workers=1)
        return read

    def scan_until(self, path: str) -> None:
        self.die_at = path
        with pytest.raises(Killed):
            self.scan()
        self.die_at = None

    @property
    def journal(self) -> Path:
        return self.dest / JOURNAL_NAME


@pytest.fixture
def tree(tmp_path, speech, monkeypatch) -> Tree:
    return Tree(tmp_path, speech, monkeypatch)


def test_a_killed_scan_goes_on_where_it_stopped(tree):
    tree.scan_until("d.flac")
    assert tree.read == ["a.flac", "b.flac", "c.flac"]
    assert tree.scan() == ["d.flac", "e.flac", "f.flac"]
    assert tree.scan() == []
    forget_journal(tree.dest)
    assert tree.scan() == tree.paths


def test_a_resumed_run_writes_the_same_bytes_and_removes_the_journal(tree, tmp_path):
    prepare(tree.root, tmp_path / "undisturbed", valid_fraction=0.3, workers=1)
    tree.die_at, tree.read = "e.flac", []
    with pytest.raises(Killed):
        prepare(tree.root, tree.dest, valid_fraction=0.3, workers=1)
    assert [path.name for path in tree.dest.iterdir()] == [JOURNAL_NAME]
    tree.die_at, tree.read = None, []
    prepare(tree.root, tree.dest, valid_fraction=0.3, workers=1)
    assert tree.read == ["e.flac", "f.flac"]
    files = {path.name: path.read_bytes() for path in tree.dest.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert JOURNAL_NAME not in files and "refused.tsv" in files


def test_a_changed_file_is_read_again(tree, speech):
    tree.scan()
    write(tree.root / "c.flac", speech[:20000])  # another size
    status = (tree.root / "d.flac").stat()
    os.utime(tree.root / "d.flac", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    write(tree.root / "b.flac", speech)  # was refused
    (tree.root / "e.flac").unlink()
    assert tree.scan() == ["b.flac", "c.flac", "d.flac", "e.flac"]
    write(tree.root / "e.flac", speech)
    assert tree.scan() == ["e.flac"]
    assert tree.scan() == []


def test_a_file_that_changes_while_it_is_read_is_read_again(tree, speech, monkeypatch):
    def read_and_change(path: str, root: str, rules: AudioRules) -> Clip | Refusal:
        result = audio_file.read_clip(path, root, rules)
        if path == "c.flac":
            write(tree.root / "c.flac", speech[:20000])
        return result

    with monkeypatch.context() as patch:
        patch.setattr(journal, "read_clip", read_and_change)
        read_clips(tree.root, tree.paths, AudioRules(), workers=1, dest=tree.dest)
    assert tree.scan() == ["c.flac"]


@pytest.mark.parametrize("rules", [AudioRules(verify=True), AudioRules(min_seconds=0.5), AudioRules(8000)])
def test_the_journal_of_other_rules_is_not_used(tree, rules):
    tree.scan()
    assert tree.scan(rules) == tree.paths
    assert tree.scan(rules) == []
    assert tree.scan() == tree.paths


def test_the_journal_of_another_folder_is_not_used(tree, tmp_path):
    tree.scan()
    copy = tmp_path / "copy"
    copy.symlink_to(tree.root)
    assert tree.scan(root=copy) == tree.paths


def test_a_last_line_that_was_cut_off_is_dropped(tree):
    tree.scan()
    whole = tree.journal.read_bytes()
    last_line = whole.splitlines(keepends=True)[-1]
    for num_lost in (1, 2, len(last_line) // 2, len(last_line) - 1):
        tree.journal.write_bytes(whole[:-num_lost])
        assert tree.scan() == ["f.flac"]
        assert tree.journal.read_bytes() == whole
    tree.journal.write_bytes(whole[: -len(last_line)])
    assert tree.scan() == ["f.flac"]


@given(cut=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_journal_cut_anywhere_is_used_as_far_as_it_goes(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    for name in "abc":
        (folder / f"{name}.flac").touch()  # refused, which is as good here
    paths = ["a.flac", "b.flac", "c.flac"]
    expected = read_clips(folder, paths, AudioRules(), workers=1, dest=folder)
    whole = (folder / JOURNAL_NAME).read_bytes()
    (folder / JOURNAL_NAME).write_bytes(whole[: int(cut * len(whole))])
    assert read_clips(folder, paths, AudioRules(), workers=1, dest=folder) == expected
    assert (folder / JOURNAL_NAME).read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["", "no json", "[]", '["d.flac"]', '["d.flac", 1, 2]', '["d.flac", 1, 2, 3, 4, 5]', "{}", "7", "[7, 1, 2, 3, 4]"],
)
def test_what_stands_after_a_damaged_line_is_read_again(tree, line):
    tree.scan()
    lines = tree.journal.read_text("utf-8").splitlines()
    lines[4] = line
    tree.journal.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    assert tree.scan() == ["d.flac", "e.flac", "f.flac"]
    assert [json.loads(one)[0] for one in tree.journal.read_text("utf-8").splitlines()[1:]] == tree.paths


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", GARBAGE])
def test_what_is_no_journal_is_replaced(tree, content):
    tree.dest.mkdir()
    tree.journal.write_bytes(content)
    assert tree.scan() == tree.paths
    assert tree.scan() == []


def test_a_path_named_twice_gives_two_results(tree):
    tree.paths = ["a.flac", "c.flac", "a.flac"]
    tree.scan()
    assert tree.scan() == []
