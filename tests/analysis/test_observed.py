"""Intervals by leaving groups out, labels of frames at every edge, mel frames, and what is kept of states."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from summarymixing_fairseq.analysis.kept_states import KeptStates, _mel
from summarymixing_fairseq.analysis.labels import frames_of_tier, labels_of_clips
from summarymixing_fairseq.analysis.measures.similarity import CrossSums, linear_cka
from summarymixing_fairseq.analysis.observations.layers import _Side
from summarymixing_fairseq.analysis.observed import Observed, jackknife, mean_of_clips
from summarymixing_fairseq.data.alignments import Alignment, Interval
from summarymixing_fairseq.data.frame_times import FrameTimes
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank


@pytest.mark.parametrize("count", range(2, 11))
def test_jackknife_by_a_loop(count):
    parts = np.random.default_rng(count).uniform(1, 2, (count, 2))
    found = jackknife(list(map(torch.from_numpy, parts)), lambda sums: float(sums[0] / sums[1]))
    value = parts[:, 0].sum() / parts[:, 1].sum()
    without = []
    for left_out in range(count):
        kept = [part for i, part in enumerate(parts) if i != left_out]
        without.append(sum(part[0] for part in kept) / sum(part[1] for part in kept))
    mean = sum(without) / count
    error = ((count - 1) / count * sum((one - mean) ** 2 for one in without)) ** 0.5
    reach = scipy.stats.t.ppf(0.975, count - 1) * error
    np.testing.assert_allclose(found, (value, value - reach, value + reach), rtol=1e-3 * reach + 1e-9)


def test_one_part_has_no_interval():
    found = jackknife([torch.tensor([3.0, 2.0])], lambda sums: float(sums[0] / sums[1]))
    assert found.value == 1.5 and np.isnan(found[1:]).all()


def test_mean_of_clips_leaves_nan_out():
    values, groups = [1.0, float("nan"), 3.0, 5.0, 7.0], [0, 1, 2, 0, 4]
    found = mean_of_clips(values, groups)
    of_mean = scipy.stats.t.ppf(0.975, 2)
    without = [(3 + 7) / 2, (1 + 5 + 7) / 3, (1 + 3 + 5) / 3]
    error = (2 / 3 * sum((one - np.mean(without)) ** 2 for one in without)) ** 0.5
    np.testing.assert_allclose(found, (4.0, 4 - of_mean * error, 4 + of_mean * error), rtol=1e-3)
    assert np.isnan(mean_of_clips([float("nan")], [0]).value) and np.isnan(mean_of_clips([], []).value)


TIMES = FrameTimes(320, 400)


def test_labels_of_frames_at_every_edge():
    """An interval holds the centres from its start on, without its end; times are those of samples."""
    centre = [(320 * t + 200) / 16_000 for t in range(6)]
    cases = {
        (centre[0], centre[1]): [0],
        (0.0, centre[1]): [0],
        (np.nextafter(centre[0], 1), centre[2]): [1],
        (centre[2], np.nextafter(centre[3], 1)): [2, 3],
        (centre[5], 10.0): [5],
        (np.nextafter(centre[5], 1), 10.0): [],
        (np.nextafter(centre[3], 0), centre[3]): [],
    }
    for (start, end), frames in cases.items():
        alignment = Alignment({"phones": (Interval("a", start, end),)}, 1.0)
        labels, intervals = frames_of_tier([alignment], "phones", [6], TIMES)
        assert np.flatnonzero(labels.of == 0).tolist() == frames and labels.names == ["a"]
        assert [list(range(first, after)) for _, first, after in intervals[0]] == ([frames] if frames else [])


def test_labels_follow_the_order_of_the_frames():
    tiers = [(Interval("b", 0.0, 0.05),), (Interval("a", 0.0, 0.02), Interval("b", 0.02, 0.06)), ()]
    alignments = [Alignment({"phones": tiers[clip]}, 0.1) for clip in (1, 2, 0)]
    labels, intervals = frames_of_tier(alignments, "phones", [3, 2, 4], TIMES)
    assert labels.of.tolist() == [0, 1, 1, -1, -1, 1, 1, -1, -1] and labels.names == ["a", "b"]
    assert intervals == [[(0, 0, 1), (1, 1, 3)], [], [(1, 0, 2)]]
    of_clips = labels_of_clips(["", "w", "x"])
    assert of_clips.of.tolist() == [-1, 0, 1] and of_clips.names == ["w", "x"]


@pytest.mark.parametrize("window, shift", [(400, 320), (400, 160), (700, 640), (1000, 320), (200, 80)])
def test_mel_frames_lie_at_the_centres(window, shift):
    """No other frame of the filterbank is nearer to the encoder's centre."""
    wave = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    num_frames = (len(wave) - window) // shift + 1
    filterbank = LogMelFilterbank()
    found = _mel(filterbank, wave, num_frames, FrameTimes(shift, window))
    energies = filterbank(torch.from_numpy(wave)[None])[0]
    centres = np.arange(len(energies)) * filterbank.shift_samples + filterbank.window_samples / 2
    for t in range(num_frames):
        distances = np.abs(centres - (t * shift + window / 2))
        chosen = [k for k in range(len(energies)) if torch.equal(energies[k], found[t])]
        assert len(chosen) == 1 and distances[chosen[0]] == distances.min()


def kept(folder, num_frames: list[int], width: int, seed: int) -> Observed:
    states = np.random.default_rng(seed).standard_normal((sum(num_frames), width)) + 1
    states[:, 0] = 2.0  # a channel that does not vary
    states.astype(np.float16).tofile(folder / "1.f16")
    return Observed("x", KeptStates(folder, {"1": width}, list(range(len(num_frames))), num_frames, TIMES))


def test_groups_of_frames(tmp_path):
    num_frames = [4, 1, 3, 5, 2, 2, 2, 2, 2, 2, 2, 6]
    one = kept(tmp_path, num_frames, 3, 0)
    whole = one.states.frames("1")
    groups = one.frames_by_group("1")
    assert len(groups) == 10 and sorted(row for _, rows in groups for row in rows) == list(range(sum(num_frames)))
    for number, (frames, rows) in enumerate(groups):
        (group,) = {one.group_of_clips()[one.states.order.index(c)] for c in one.states.clip_of_frame[rows]}
        assert group == number
        assert torch.equal(frames, whole[rows])
    fewer = one.frames_by_group("1", 11)
    assert [rows.tolist() for _, rows in fewer] == [rows[::3].tolist() for _, rows in groups]


def test_groups_do_not_follow_the_order_of_the_manifest(tmp_path):
    """Ten speakers in turn would each be a group."""
    one = kept(tmp_path, [1] * 100, 3, 0)
    speakers = {
        group: {clip % 10 for clip in one.states.clip_of_frame[rows]} for group, rows in enumerate(one.groups())
    }
    assert len(speakers) == 10 and min(map(len, speakers.values())) > 3


def test_cka_of_many_pairs_is_that_of_one(tmp_path):
    """By sums around the common mean, as by ``linear_cka`` of each pair."""
    num_frames = [30 + i for i in range(12)]
    both = []
    for number, width in enumerate((6, 9)):
        folder = tmp_path / str(number)
        folder.mkdir()
        both.append(kept(folder, num_frames, width, number))
    one, other = (_Side(observed, "1", observed.groups()) for observed in both)
    row = one.cka(other)
    parts = []
    for (frames, _), (others, _) in zip(both[0].frames_by_group("1"), both[1].frames_by_group("1")):
        parts.append(CrossSums([6, 9]))
        parts[-1].add(frames.double(), others.double())
    np.testing.assert_allclose(row.estimate, jackknife(parts, linear_cka), atol=1e-6)


def test_states_that_are_all_alike_have_no_cka(tmp_path):
    one = kept(tmp_path, [50, 50], 4, 0)
    np.full((100, 4), 0.3, np.float16).tofile(tmp_path / "1.f16")
    side = _Side(one, "1", one.groups())
    assert np.isnan(side.cka(side).estimate.value)


def test_a_group_without_labels_does_not_spoil_the_sums():
    sums, frames, labels = CrossSums([3], [2]), torch.randn(20, 3), torch.arange(20) % 2
    sums.add(frames, labels)
    sums.add(frames[:0], labels[:0])
    alone = CrossSums([3], [2])
    alone.add(frames, labels)
    assert linear_cka(sums) == linear_cka(alone)


@pytest.mark.parametrize(("window", "shift"), [(400, 320), (1360, 320), (400, 160), (1000, 640)])
def test_nearest_frames_of_another_encoder(tmp_path, window, shift):
    """By a loop over all frames of the same clip, which the other encoder may have taken in another order."""
    mine = KeptStates(tmp_path, {}, [2, 0, 1], [50, 40, 30], FrameTimes(320, 1360))
    other = KeptStates(tmp_path, {}, [0, 1, 2], [43, 33, 53], FrameTimes(shift, window))
    rows = np.array([0, 7, 49, 50, 89, 90, 119])
    expected = []
    for row in rows:
        clip = mine.clip_of_frame[row]
        centre = (row - mine.starts[[2, 0, 1].index(clip)]) * 320 + 680
        frames = np.flatnonzero(other.clip_of_frame == clip)
        distances = np.abs((frames - frames[0]) * shift + window / 2 - centre)
        expected.append((frames[0], distances.min()))
    found = mine.nearest_rows(rows, other)
    for row, nearest, (first, least) in zip(rows, found, expected):
        centre = (row - mine.starts[[2, 0, 1].index(mine.clip_of_frame[row])]) * 320 + 680
        assert other.clip_of_frame[nearest] == mine.clip_of_frame[row]
        assert abs((nearest - first) * shift + window / 2 - centre) == least
