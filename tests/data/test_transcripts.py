"""Transcripts: segments, files, times of frames, and windows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from summarymixing_fairseq.data import windows
from summarymixing_fairseq.data.alignments import Interval, as_ctm, read_ctm, read_textgrid
from summarymixing_fairseq.data.frame_times import FrameTimes
from summarymixing_fairseq.data.transcript_files import file_names, files_of
from summarymixing_fairseq.data.transcripts import Hypothesis, Transcript
from summarymixing_fairseq.data.windows import by_windows

TIMES = FrameTimes(320, 1360)


def spoken(*words: tuple[str, float, float]) -> Transcript:
    intervals = tuple(Interval(*word, confidence=0.5) for word in words)
    return Transcript((Hypothesis(intervals, -1.0), Hypothesis((), -2.0)), 3700.0)


def test_the_middle_of_what_a_frame_hears():
    assert [TIMES.centre(i) for i in (0, 1, 50)] == [0.0425, 0.0625, 1.0425]
    assert TIMES.timed(Interval("a", 0, 2)) == Interval("a", 0.0325, 0.0725)


def test_segments_end_at_pauses_at_seven_seconds_and_at_two_lines():
    pause = spoken(("A", 0.0, 1.0), ("B", 1.59, 2.0), ("C", 2.6, 3.0))
    assert [(one.label, one.start, one.end) for one in pause.segments] == [("A B", 0.0, 2.0), ("C", 2.6, 3.0)]
    long = spoken(*((str(i), i / 2, i / 2 + 0.4) for i in range(20)))
    assert max(one.end - one.start for one in long.segments) <= 7
    wide = spoken(*(("X" * 20, i / 10, i / 10 + 0.1) for i in range(9)))
    assert [len(one.label) for one in wide.segments] == [83, 83, 20]
    assert spoken().segments == [] and spoken().text == ""


def test_subtitles():
    said = spoken(("<i>", 0.0325, 0.5), ("&", 3599.9996, 3601.25))
    srt = "1\n00:00:00,032 --> 00:00:00,500\n<i>\n\n2\n01:00:00,000 --> 01:00:01,250\n&\n\n"
    assert files_of("srt", {"a/b": said}) == {"a/b.srt": srt}
    vtt = "WEBVTT\n\n00:00:00.032 --> 00:00:00.500\n&lt;i&gt;\n\n01:00:00.000 --> 01:00:01.250\n&amp;\n"
    assert files_of("vtt", {"a": said, "b": spoken()}) == {"a.vtt": vtt, "b.vtt": "WEBVTT\n"}


def test_files_are_read_again(tmp_path):
    said = {"a b": spoken(("ONE", 0.1, 0.5), ('"TWO"', 0.75, 1.0))}
    (tmp_path / "hypo.ctm").write_text(files_of("ctm", said)["hypo.ctm"])
    assert (tmp_path / "hypo.ctm").read_text().splitlines()[0] == "a_b 1 0.100 0.400 ONE 0.500"
    words = [(one.label, one.start, one.end) for one in read_ctm(tmp_path / "hypo.ctm")["a_b"].tiers["phones"]]
    assert words == [("ONE", 0.1, 0.5), ('"TWO"', 0.75, 1.0)]
    (tmp_path / "a.TextGrid").write_text(files_of("textgrid", said)["a b.TextGrid"])
    assert [one.label for one in read_textgrid(tmp_path / "a.TextGrid").tiers["words"]] == ["ONE", '"TWO"']
    line = json.loads(files_of("json", said)["hypo.jsonl"])
    assert line["words"][0] == {"text": "ONE", "start": 0.1, "end": 0.5, "confidence": 0.5}
    assert line["segments"] == [{"text": 'ONE "TWO"', "start": 0.1, "end": 1.0}]
    assert [one["text"] for one in line["hypotheses"]] == ['ONE "TWO"', ""]
    assert file_names("json", ["a", "b"]) == ["hypo.jsonl"] and file_names("vtt", ["a"]) == ["a.vtt"]
    assert as_ctm("a", [Interval("b", 0.0, 1.0)]) == "a 1 0.000 1.000 b\n"


@pytest.mark.parametrize("num_frames", [101, 150, 160, 399, 1000])
def test_windows_give_each_frame_once_and_far_from_ends(monkeypatch, num_frames):
    monkeypatch.setattr(windows, "WINDOW_SECONDS", 2.0)
    monkeypatch.setattr(windows, "OVERLAP_SECONDS", 0.8)
    waveform = np.arange((num_frames - 1) * 320 + 1360 + 100, dtype=np.float64)

    def compute(parts):
        """First sample that each frame hears, and how far it is from an end of its window, in frames."""
        assert len({len(part) for part in parts}) == 1
        places = np.arange(100)
        return [np.stack([part[places * 320], np.minimum(places, 99 - places)], 1) for part in parts]

    frames = by_windows(waveform, num_frames, TIMES, compute)
    np.testing.assert_array_equal(frames[:, 0], np.arange(num_frames) * 320)
    assert frames[20:-20, 1].min() >= 19
