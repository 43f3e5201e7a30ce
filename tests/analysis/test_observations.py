"""Every measure on a few spoken clips: held to a contract, and to what `Encoder.extract` gives by plain code."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from encoder_checkpoints import SMALL, randomise
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timed_clips import TimedClips, make_timed_clips

from summarymixing_fairseq.analysis.kept_states import KeptStates, keep_states
from summarymixing_fairseq.analysis.kmeans import fit_centroids
from summarymixing_fairseq.analysis.measures.abx import abx
from summarymixing_fairseq.analysis.measures.information import probe_information
from summarymixing_fairseq.analysis.measures.order import with_tone, words_in_another_order
from summarymixing_fairseq.analysis.measures.regression import PENALTIES
from summarymixing_fairseq.analysis.measures.robustness import disturbances
from summarymixing_fairseq.analysis.observations import MEASURES, order
from summarymixing_fairseq.analysis.observations.abx import MOST_TRIPLES
from summarymixing_fairseq.analysis.observations.layers import between
from summarymixing_fairseq.analysis.observed import Observed
from summarymixing_fairseq.analysis.run import Audio, _lacking, _observe
from summarymixing_fairseq.checkpoints.encoders import EncoderSpec, random_encoder
from summarymixing_fairseq.checkpoints.encoders.stock import read_config
from summarymixing_fairseq.system.errors import InputError

# These train many probes: a place is enough.
SLOW = ("information", "clips")
CHANGES = {
    "ours": {},
    "branches": {},
    "gate": {"summary_gate": True},
    "none": {"mixer": "none"},
    "attention": {"mixer": "rope_mhsa"},
}
PLACES = {
    "ours": ["mel", "latents", "1", "2"],
    "branches": ["mel", "1.f", "1.s"],
    "gate": ["mel", "2"],
    "none": ["mel", "1.mixer"],
    "attention": ["mel", "2.mixer"],
    "wav2vec2": ["mel", "input", "2.ffn"],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> TimedClips:
    return make_timed_clips(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def observe(corpus, tiny_config, tmp_path_factory):
    """``observe(name)``: an encoder of ``PLACES`` on the corpus."""
    seen: dict[str, Observed] = {}

    def call(name: str) -> Observed:
        if name not in seen:
            torch.manual_seed(11)
            config = read_config(SMALL) if name == "wav2vec2" else asdict(tiny_config(**CHANGES[name]))
            kind = "wav2vec2" if name == "wav2vec2" else "wav2vec2_summarymixing"
            encoder = randomise(random_encoder(EncoderSpec(kind, config, False, 16_000, False))).requires_grad_(False)
            for parameter in encoder.parameters():
                if parameter.dim() == 0:
                    parameter.fill_(0.07)  # a gate, of which the mixer takes ten times
            audio = Audio(corpus.clips, "", corpus.alignments, None)
            kept = keep_states(encoder, corpus.clips, PLACES[name], tmp_path_factory.mktemp(name) / "states", 4.0)
            seen[name] = _observe(name, encoder, audio, kept, 3)
        return seen[name]

    return call


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("measure", MEASURES)
def test_contract(observe, name, measure):
    observed, places = observe(name), PLACES[name]
    if measure in SLOW:
        places = places[-1:]
    assert MEASURES[measure].help and MEASURES[measure].run.__doc__ and MEASURES[measure].name == measure
    if _lacking(MEASURES[measure], observed):
        assert measure == "branches" and name in ("none", "attention", "wav2vec2")
        return
    rows = list(MEASURES[measure].run(observed, places))
    assert bool(rows) == ((measure, name) != ("branches", "branches"))  # which has no whole layer among its places
    for row in rows:
        assert row.place in places and row.other in (*places, *observed.frame_labels, *observed.clip_labels, "")
        assert all(isinstance(number, float) for number in row.estimate), row
        value, low, high = row.estimate
        # frames that are all alike take no step
        assert math.isfinite(value) or (row.place, row.number) == ("1.s", "curvature"), row
        assert math.isnan(low) == math.isnan(high)
        assert math.isnan(low) or low <= value <= high, row
    keys = [(row.place, row.number, row.other) for row in rows]
    assert len(set(keys)) == len(keys)
    if measure not in ("context", "branches", "layers"):
        # some run the encoder, which hears no log-mel energies
        assert {row.place for row in rows} >= {place for place in places if place != "mel"}
    if name not in ("ours", "wav2vec2"):
        return
    again = list(MEASURES[measure].run(observed, places))
    for row, other in zip(rows, again, strict=True):
        assert row[:2] == other[:2] and np.array_equal(row.estimate, other.estimate, equal_nan=True)


def rows_of(observed: Observed, measure: str, places: list[str]) -> dict[tuple[str, ...], float]:
    return {
        (row.place, row.number, *([row.other] if row.other else [])): row.estimate.value
        for row in MEASURES[measure].run(observed, places)
    }


class Plain:
    """The same by `Encoder.extract`, clip by clip in the order of the manifest, rounded as it is kept."""

    def __init__(self, observed: Observed, corpus: TimedClips):
        self.encoder, self.corpus = observed.encoder, corpus
        self.order = observed.states.order
        self.clips = [self.extract(wave).half().double().numpy() for wave in corpus.waves]
        self.frames = np.concatenate(self.clips)
        self.clip = np.repeat(np.arange(len(self.clips)), [len(clip) for clip in self.clips])
        self.mean = self.frames.mean(0)

    def extract(self, wave) -> torch.Tensor:
        """(T, D) of layer 1."""
        return self.encoder.extract(wave, 1)

    def labels(self, tier: str) -> np.ndarray:
        found = []
        for alignment, clip in zip(self.corpus.alignments, self.clips):
            for t in range(len(clip)):
                at = (320 * t + self.encoder.min_samples() / 2) / 16_000
                labels = [one.label for one in alignment.tiers[tier] if one.start <= at < one.end]
                found.append(labels[0] if labels else "")
        return np.array(found)

    def cosine(self, one: np.ndarray, other: np.ndarray) -> float:
        one, other = one - self.mean, other - self.mean
        return float(((one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)).mean())


@pytest.fixture(scope="module")
def plain(observe, corpus) -> Plain:
    return Plain(observe("ours"), corpus)


def test_what_is_kept_is_what_extract_gives(observe, plain):
    states = observe("ours").states
    for row, position in enumerate(states.order):
        kept = states.frames("1", slice(states.starts[row], states.starts[row + 1]))
        np.testing.assert_allclose(kept, plain.clips[position], atol=2e-3, rtol=2e-3)  # half precision
    labels = observe("ours").frame_labels["phones"]
    named = np.array([labels.names[number] if number >= 0 else "" for number in labels.of])
    wanted = plain.labels("phones")
    assert (named == np.concatenate([wanted[plain.clip == position] for position in states.order])).all()


def test_similarity(observe, plain):
    found = rows_of(observe("ours"), "similarity", ["mel", "1"])
    of = plain.labels("words")
    x = plain.frames[of != ""]
    y = (of[of != ""][:, None] == np.unique(of[of != ""])).astype(float)
    x, y = x - x.mean(0), y - y.mean(0)
    cka = np.square(x.T @ y).sum() / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert abs(found["1", "CKA", "words"] - cka) < 1e-3
    assert ("mel", "CKA", "phones") in found and ("1", "PWCCA", "speakers") in found
    assert ("mel", "CKA", "mel") not in found and ("1", "CKA", "languages") in found


def test_layers(observe, plain):
    found = rows_of(observe("ours"), "layers", ["1", "2"])
    x = plain.frames - plain.mean
    y = np.concatenate([plain.encoder.extract(wave, 2).double() for wave in plain.corpus.waves])
    y -= y.mean(0)
    cka = np.square(x.T @ y).sum() / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert abs(found["1", "CKA", "2"] - cka) < 1e-3
    (row,) = between(observe("ours"), observe("ours"), ["2"], ["1"])
    assert abs(row.estimate.value - cka) < 1e-3


def test_rank_and_temporal(observe, plain):
    found = rows_of(observe("ours"), "rank", ["1"])
    singular = np.linalg.svd(plain.frames, compute_uv=False)
    shares = singular / singular.sum()
    assert abs(found["1", "RankMe"] / np.exp(-(shares * np.log(shares)).sum()) - 1) < 2e-2
    squares = np.linalg.svd(plain.frames - plain.mean, compute_uv=False) ** 2
    assert abs(found["1", "participation ratio"] / (squares.sum() ** 2 / (squares**2).sum()) - 1) < 1e-3
    found = rows_of(observe("ours"), "temporal", ["1"])
    angles = []
    for clip in plain.clips:
        steps = [b - a for a, b in zip(clip, clip[1:])]
        angles.append(np.mean([math.acos(a @ b / math.sqrt((a @ a) * (b @ b))) for a, b in zip(steps, steps[1:])]))
    assert abs(found["1", "curvature"] - np.mean(angles)) < 1e-2


# Of the twelve clips, in the order of the manifest.
GROUP_OF = np.random.default_rng(0).permutation(12) % 10


def test_phones(observe, plain):
    """Ridge regression by its equations on whole matrices."""
    of = plain.labels("phones")
    names, known = np.unique(of[of != ""]), of != ""
    correct = 0
    for group in range(10):
        train, test = (known & is_of for is_of in (GROUP_OF[plain.clip] != group, GROUP_OF[plain.clip] == group))
        x, y = plain.frames[train], (of[train][:, None] == names).astype(float)
        centred = x - x.mean(0)
        penalty = 1e-3 * np.square(centred).sum() / x.shape[1]
        weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ y)
        scores = (plain.frames[test] - x.mean(0)) @ weights + y.mean(0)
        correct += (names[scores.argmax(1)] == of[test]).sum()
    found = rows_of(observe("ours"), "phones", ["1"])["1", "accuracy"]
    assert abs(found - correct / known.sum()) < 4 / known.sum()


def test_clips(observe, plain):
    found = rows_of(observe("ours"), "clips", ["1"])
    means = np.stack([clip.mean(0) for clip in plain.clips])
    groups, split = GROUP_OF, LeaveOneGroupOut()
    lengths = np.log([len(clip) for clip in plain.clips])
    predicted = cross_val_predict(make_pipeline(StandardScaler(), RidgeCV(PENALTIES)), means, lengths, groups=groups,
                                  cv=split)  # fmt: skip
    r2 = 1 - np.square(predicted - lengths).sum() / np.square(lengths - lengths.mean()).sum()
    assert abs(found["1", "length"] - r2) < 0.02
    speakers = np.array([alignment.speaker for alignment in plain.corpus.alignments])
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    hits = cross_val_predict(probe, means, speakers, groups=groups, cv=split) == speakers
    assert abs(found["1", "speakers"] - hits.mean()) < 0.1 and {number for _, number in found} == {
        *("speakers", "languages", "length")
    }


def test_units(observe):
    """Of the centroids, by counting."""
    observed = observe("ours")
    frames = observed.states.frames("1")
    rows = np.concatenate(observed.groups())
    centroids = fit_centroids(frames[rows].numpy(), 100, observed.seed, 1)
    unit = ((frames.double().numpy()[:, None] - centroids[None]) ** 2).sum(2).argmin(1)
    of = observed.frame_labels["phones"].of
    counts = np.zeros((100, of.max() + 1))
    for one, phone in zip(unit, of):
        if phone >= 0:
            counts[one, phone] += 1
    found = rows_of(observed, "units", ["1"])
    assert abs(found["1", "phone purity"] - counts.max(1).sum() / counts.sum()) < 1e-9
    assert abs(found["1", "cluster purity"] - counts.max(0).sum() / counts.sum()) < 1e-9


def test_abx_leaves_clips_without_a_speaker_out(observe):
    observed = observe("ours")
    states, speakers = observed.states, observed.clip_labels["speakers"]
    unknown = speakers._replace(of=np.where(speakers.of == 2, -1, speakers.of))
    for of_clips in (speakers, unknown):
        segments, phones, voices = [], [], []
        for row, intervals in enumerate(observed.intervals["phones"]):
            for phone, first, end in intervals:
                if of_clips.of[row] >= 0:
                    segments.append(states.frames("1", slice(states.starts[row] + first, states.starts[row] + end)))
                    phones.append(phone)
                    voices.append(of_clips.of[row])
        changed = replace(observed, clip_labels={"speakers": of_clips})
        found = rows_of(changed, "abx", ["1"])
        for number, across in (("ABX within speakers", False), ("ABX across speakers", True)):
            cells = abx(segments, np.array(phones), np.array(voices), across, MOST_TRIPLES, observed.seed)
            assert abs(found["1", number] - cells.error()) < 1e-9


def test_abx_of_one_kind_alone(observe):
    """Speakers that share no phone: there is no number across them, and there are those within."""
    observed = observe("ours")
    speakers = observed.clip_labels["speakers"]
    of_clip = speakers.of.tolist()
    kept = [
        [(phone, first, end) for phone, first, end in intervals if phone % 3 == of_clip[row]]
        for row, intervals in enumerate(observed.intervals["phones"])
    ]
    found = rows_of(replace(observed, intervals={"phones": kept}), "abx", ["1"])
    assert math.isfinite(found["1", "ABX within speakers"]) and math.isnan(found["1", "ABX across speakers"])
    with pytest.raises(InputError, match="the labels have no such case"):
        rows_of(replace(observed, intervals={"phones": [[] for _ in kept]}), "abx", ["1"])


def test_robustness(observe, plain):
    observed = observe("ours")
    found = rows_of(observed, "robustness", ["mel", "1"])
    cosines: dict[str, list[float]] = {}
    for row, wave in observed.waves.items():
        clean = plain.extract(wave).double().numpy()
        for name, heard in disturbances(wave, np.random.default_rng(observed.seed + row)).items():
            cosines.setdefault(name, []).append(plain.cosine(clean, plain.extract(heard).double().numpy()))
    assert found.keys() == {("1", name) for name in cosines}
    for name, values in cosines.items():
        assert abs(found["1", name] - np.mean(values)) < 1e-3


def test_order(observe, plain):
    observed = observe("ours")
    found = rows_of(observed, "order", ["mel", "1"])
    rows = list(observed.waves)
    four_times = [row for row in rows for _ in range(4)]
    rng = np.random.default_rng(observed.seed)
    positions = rng.uniform(size=len(four_times))

    def mean_of(wave):
        return plain.extract(wave).double().numpy().mean(0)

    toned = [with_tone(observed.waves[row], position) for row, position in zip(four_times, positions)]
    means = np.stack([mean_of(wave) - mean_of(observed.waves[row]) for row, wave in zip(four_times, toned)])
    groups = GROUP_OF[[plain.order[row] for row in four_times]]
    predicted = cross_val_predict(make_pipeline(StandardScaler(), RidgeCV(PENALTIES)), means, positions, groups=groups,
                                  cv=LeaveOneGroupOut())  # fmt: skip
    r2 = 1 - np.square(predicted - positions).sum() / np.square(positions - positions.mean()).sum()
    assert abs(found["1", "tone"] - r2) < 1e-2
    centre = observed.states.frames("1").double().mean(0).numpy()
    cosines = []
    for row in rows:
        other = words_in_another_order(observed.waves[row], order._word_starts(observed, row), rng)
        if other is not None:
            one, two = mean_of(observed.waves[row]) - centre, mean_of(other) - centre
            cosines.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    assert cosines and abs(found["1", "words"] - np.mean(cosines)) < 1e-3


def test_words_are_cut_where_they_begin(observe, corpus):
    """To half a frame, after the first frame's centre."""
    observed = observe("ours")
    for row, position in enumerate(observed.states.order):
        heard = order._word_starts(observed, row)
        starts = [one.start for one in corpus.alignments[position].tiers["words"]]
        first_centre = observed.states.times.window_samples / 32_000
        for one, other in zip(heard, starts, strict=True):
            assert abs(one - other) <= (0.01 if other >= first_centre else first_centre) + 1e-9
    # of a clip that was cut, the words that are left
    first = next(iter(observed.waves))
    cut = replace(observed, waves={first: observed.waves[first][:8000]})
    assert all(start < 0.5 for start in order._word_starts(cut, first))


@pytest.mark.parametrize("name, share", [("ours", 0.5), ("gate", 1 / (1 + math.exp(-0.7)))])
def test_branches(observe, corpus, name, share):
    observed = observe(name)
    encoder = observed.encoder
    mixer = encoder.model.encoder.layers[1].mixer
    heard: dict[str, torch.Tensor] = {}
    hooks = [
        mixer.local_norm.register_forward_hook(lambda _m, _i, output: heard.update(f=output[0])),
        mixer.summary_norm.register_forward_hook(lambda _m, _i, output: heard.update(s=output[0])),
    ]
    strengths, without = [], []
    plain = np.concatenate([encoder.extract(wave, 2).double().numpy() for wave in corpus.waves])
    for wave in observed.waves.values():
        intact = encoder.extract(wave, 2).double().numpy() - plain.mean(0)
        w_f, w_s = mixer.combiner.weight.split(32, 1)
        f, s = ((1 - share) * heard["f"] @ w_f.T).norm(dim=-1), (share * heard["s"] @ w_s.T).norm(dim=-1)
        strengths.append(float((s / (f + s)).mean()))
        hook = mixer.summary_norm.register_forward_hook(lambda _m, _i, output: 0 * output)
        other = encoder.extract(wave, 2).double().numpy() - plain.mean(0)
        hook.remove()
        norms = np.linalg.norm(intact, axis=1) * np.linalg.norm(other, axis=1)
        without.append(float(((intact * other).sum(1) / norms).mean()))
    for hook in hooks:
        hook.remove()
    found = rows_of(observed, "branches", PLACES[name])
    assert abs(found["2", "strength of s"] - np.mean(strengths)) < 1e-4
    assert abs(found["2", "without s"] - np.mean(without)) < 1e-3
    assert found["2", "s of another clip"] < 1 - 1e-6


def test_one_clip_has_no_summary_of_another(observe):
    observed = observe("ours")
    for num_clips, expected in ((1, False), (5, True), (7, True)):
        some = replace(observed, waves=dict(list(observed.waves.items())[:num_clips]))
        found = rows_of(some, "branches", ["1"])
        assert (("1", "s of another clip") in found) == expected


def test_information(observe):
    observed = observe("ours")
    found = rows_of(observed, "information", ["latents"])
    clips = observed.states.clip_of_frame
    of_frames = {
        "phones": observed.frame_labels["phones"].of,
        "speakers": np.repeat(observed.clip_labels["speakers"].of, observed.states.num_frames),
    }
    for kind, of in of_frames.items():
        known = np.flatnonzero(of >= 0)
        frames = observed.states.frames("latents", known).numpy()
        expected = probe_information(frames, of[known], clips[known], observed.seed)
        assert found["latents", "bits", kind] == pytest.approx(expected.bits, abs=1e-6)
        assert found["latents", "share", kind] == pytest.approx(expected.share, abs=1e-6)


def test_information_of_phones_where_there_is_none_of_speakers(observe, caplog):
    observed = observe("ours")
    alike = observed.clip_labels["speakers"]._replace(of=np.zeros_like(observed.clip_labels["speakers"].of))
    found = rows_of(replace(observed, clip_labels={"speakers": alike}), "information", ["latents"])
    assert np.isfinite(found["latents", "bits", "phones"]) and np.isnan(found["latents", "bits", "speakers"])
    assert "information about speakers: the probe's training clips have labels of one class alone" in caplog.text


def test_a_class_of_one_group_is_left_out(observe):
    """Speakers of one group of clips alone cannot be both trained and tested on."""
    observed = observe("ours")
    groups = np.array(observed.group_of_clips())
    speakers = observed.clip_labels["speakers"]
    alone = speakers._replace(of=np.where(groups == 0, 0, np.where(groups == 1, 1, -1)))
    found = rows_of(replace(observed, clip_labels={"speakers": alone}), "clips", ["1"])
    assert {number for _, number in found} == {"length"}


def test_phones_of_one_clip(observe):
    observed = observe("ours")
    labels = observed.frame_labels["phones"]
    one = labels._replace(of=np.where(observed.states.clip_of_frame == 3, labels.of, -1))
    with pytest.raises(InputError, match="two clips with phones"):
        rows_of(replace(observed, frame_labels={"phones": one}), "phones", ["1"])
    two = labels._replace(of=np.where(np.isin(observed.states.clip_of_frame, (3, 4)), labels.of, -1))
    assert math.isfinite(rows_of(replace(observed, frame_labels={"phones": two}), "phones", ["1"])["1", "accuracy"])


def test_a_place_that_was_not_kept(observe):
    states = observe("ours").states
    assert isinstance(states, KeptStates)
    with pytest.raises(InputError, match="9: not among the places that were kept"):
        states.frames("9")
