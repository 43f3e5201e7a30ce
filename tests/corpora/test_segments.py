"""Tests of voice activity, segments and cutting, on speech with long pauses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manifest_command import corpus_writer, parse_manifest, write_audio

from summarymixing_fairseq.corpora import folder
from summarymixing_fairseq.corpora.audio import segments
from summarymixing_fairseq.corpora.audio.audio_file import write_flac
from summarymixing_fairseq.corpora.audio.segments import MAX_PAUSE_SECONDS, join, segment_files
from summarymixing_fairseq.corpora.writing.options import ManifestOptions, SegmentRules
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.data.synthesiser import speak
from summarymixing_fairseq.system.errors import InputError

prepare = corpus_writer("folder")

RATE_HZ = 16000
# Where speech lies in the recording, in seconds: two sentences, a long pause, one sentence.
PAUSE_SECONDS = 6.0


@pytest.fixture(scope="module")
def recording() -> tuple[np.ndarray, list[tuple[float, float]]]:
    parts, places, now = [], [], 1.0
    parts.append(np.zeros(RATE_HZ, np.float32))
    for text, pause in (
        ("The summary of an utterance is one vector.", 0.4),
        ("It meets every frame of the clip.", PAUSE_SECONDS),
        ("And the rest of the recording comes much later.", 1.0),
    ):
        speech = speak(text, "en-us")
        places.append((now, now + len(speech) / RATE_HZ))
        parts += [speech, np.zeros(int(pause * RATE_HZ), np.float32)]
        now = places[-1][1] + pause
    return np.concatenate(parts), places


@pytest.fixture
def audio(recording, tmp_path) -> Path:
    folder = tmp_path / "audio"
    (folder / "reader").mkdir(parents=True)
    samples, _ = recording
    soundfile.write(folder / "reader" / "long.flac", samples, RATE_HZ)
    soundfile.write(folder / "silent.flac", np.zeros(5 * RATE_HZ), RATE_HZ)
    soundfile.write(folder / "fast.wav", np.repeat(samples, 2), 2 * RATE_HZ)
    return folder


RULES = SegmentRules(target_seconds=8.0, min_segment_seconds=1.0)


def rows(path: Path) -> list[Clip]:
    return parse_manifest(path.read_text("utf-8"))[1]


def test_voice_activity_finds_what_was_spoken(audio, recording, tmp_path):
    threads = torch.get_num_threads()
    summary = prepare(audio, tmp_path, valid_fraction=0, vad=True, segments=RULES, workers=1)
    assert torch.get_num_threads() == threads
    _, ((first, _), (_, pause), (later, end)) = recording
    for name in ("reader/long.flac", "fast.wav"):
        found = [clip for clip in rows(tmp_path / "train.tsv") if clip.path == name]
        assert len(found) == 2  # two sentences joined, and one
        for clip, (start, stop) in zip(found, [(first, pause), (later, end)]):
            assert abs(clip.offset / RATE_HZ - start) < 0.5
            assert abs((clip.offset + clip.num_samples) / RATE_HZ - stop) < 0.5
    assert "refused 1: no speech found, e.g. silent.flac" in summary


def test_cut_files_hold_the_samples_of_the_rows(audio, tmp_path):
    prepare(audio, tmp_path / "rows", valid_fraction=0, vad=True, segments=RULES, workers=1)
    cut = SegmentRules(8.0, 1.0, tmp_path / "cut")
    prepare(audio, tmp_path / "files", valid_fraction=0, vad=True, segments=cut, workers=1)
    parts, files = rows(tmp_path / "rows" / "train.tsv"), rows(tmp_path / "files" / "train.tsv")
    assert len(parts) == len(files) == 4 and all(clip.offset is None for clip in files)
    for part, file in zip(parts, files):
        assert Path(file.path).parent == Path(part.path).with_suffix("") and file.num_samples == part.num_samples
        samples, rate_hz = soundfile.read(tmp_path / "cut" / file.path, dtype="float32")
        assert rate_hz == RATE_HZ
        expected = read_segment(audio / part.path, part.offset, part.num_samples)
        np.testing.assert_allclose(samples, expected, atol=2**-15)
    written = (tmp_path / "cut" / files[0].path).stat().st_mtime_ns
    prepare(audio, tmp_path / "files", valid_fraction=0, vad=True, segments=cut, workers=1)
    assert (tmp_path / "cut" / files[0].path).stat().st_mtime_ns == written
    # a recording of other samples and the same length
    samples, rate_hz = soundfile.read(audio / "reader" / "long.flac")
    soundfile.write(audio / "reader" / "long.flac", samples[::-1] * 0.9, rate_hz)
    prepare(audio, tmp_path / "again", valid_fraction=0, vad=True, segments=cut, workers=1)
    for file in rows(tmp_path / "again" / "train.tsv"):
        if file.path.startswith("reader/"):
            samples, _ = soundfile.read(tmp_path / "cut" / file.path, dtype="float32")
            expected = read_segment(audio / "reader" / "long.flac", int(Path(file.path).stem), file.num_samples)
            np.testing.assert_allclose(samples, expected, atol=2**-15)


def test_a_folder_to_cut_to_without_voice_activity(audio, tmp_path):
    with pytest.raises(InputError, match=r"--cut .*: segments of speech are cut, so give --vad too"):
        prepare(audio, tmp_path / "out", segments=SegmentRules(8.0, 1.0, tmp_path / "cut"))


def test_short_segments_are_counted():
    refused: list[Refusal] = []
    notes: list[str] = []
    options = ManifestOptions(Path(), segments=SegmentRules(10, 5))
    kept = segment_files([Clip("a.flac", 20 * RATE_HZ)], [[(1, 2), (10, 19.5), (19.6, 30)]], options, refused, notes)
    assert kept == [Clip("a.flac", 10 * RATE_HZ, 10 * RATE_HZ)]  # its end is that of the file
    assert not refused and "1 more segments are shorter than 5 s (--min-segment-seconds)" in notes[0]


def test_the_summary_counts_recordings(audio, tmp_path, monkeypatch):
    """Not their segments: of three files no more than three can be refused."""
    speech = {"fast.wav": [(0, 0.1), (5, 5.1), (9, 9.1)], "reader/long.flac": [(0, 0.1), (5, 5.1), (8, 10)]}
    found = lambda root, clips, options: [speech.get(clip.path, []) for clip in clips]  # noqa: E731
    monkeypatch.setattr(folder, "find_speech", found)
    summary = prepare(audio, tmp_path, valid_fraction=0, vad=True, segments=RULES, workers=1)
    assert "found 3 clips" in summary and "2 more segments are shorter than 1 s (--min-segment-seconds)" in summary
    assert [line for line in summary.splitlines() if line.startswith("refused")] == [
        "refused 1: no speech found, e.g. silent.flac",
        "refused 1: segments shorter than 1 s (--min-segment-seconds), e.g. fast.wav",
    ]


@pytest.mark.parametrize("cut", ["audio", "audio/deep/cut", "link/cut"])
def test_cutting_to_where_the_next_run_would_find_the_cuts(audio, tmp_path, cut):
    (tmp_path / "link").symlink_to(audio)
    with pytest.raises(InputError, match=r"--cut .* lies in .*audio: give a folder beside it"):
        prepare(audio, tmp_path / "out", vad=True, segments=SegmentRules(8.0, 1.0, tmp_path / cut))


def test_cut_files_are_not_clipped(tmp_path, speech):
    """Float recordings may go beyond full scale: they are made quieter as a whole."""
    wave = 3 / np.abs(speech[3]).max() * speech[3]
    write_flac(tmp_path / "a.flac", wave)
    np.testing.assert_allclose(read_segment(tmp_path / "a.flac"), wave / 3, atol=2**-14)


def test_missing_model(audio, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"silero-vad is missing: pip install"):
        prepare(audio, tmp_path, vad=True, segments=RULES)


def test_speakers_by_their_folder(tmp_path):
    for speaker in range(12):
        for number in range(2):
            write_audio(tmp_path / "audio" / f"s{speaker}" / "book" / f"{number}.wav", 1600)
    prepare(tmp_path / "audio", tmp_path, valid_fraction=0.4, speaker_depth=1)
    sides = [{clip.path.split("/")[0] for clip in rows(tmp_path / f"{split}.tsv")} for split in ("train", "valid")]
    assert sides[0] and sides[1] and not sides[0] & sides[1] and len(sides[0] | sides[1]) == 12
    with pytest.raises(InputError, match="--speaker-depth 3: s0/book/0.wav does not lie as deep"):
        prepare(tmp_path / "audio", tmp_path, speaker_depth=3)


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


@settings(max_examples=100, deadline=None)
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
