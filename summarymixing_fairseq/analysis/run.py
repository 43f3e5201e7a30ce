"""`summarymixing analyse`: states of each encoder are kept, then each measure is computed and written down."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..data.alignments import TIERS, Alignment
from ..data.audio import read_segment
from ..data.clips import open_clip
from ..data.manifest import Clip
from ..system.errors import InputError
from ..system.files import atomic_write, check_writable, exclusive
from ..system.strict_json import to_json
from ..system.units import SAMPLE_RATE_HZ
from .kept_states import MEL, KeptStates, keep_states
from .labels import frames_of_tier, labels_of_clips
from .observations import MEASURES, Measure, Row
from .observations.layers import between
from .observed import Labels, Observed
from .states import LATENTS, places_of, state_names

RESULTS = "results.json"
STATES = ".analysed-states"  # a folder that is removed at the end: no name that a user's may have
# Measures that run the encoder themselves do so on so many clips, cut to this length.
NUM_WAVES = 24
LONGEST_WAVE_SECONDS = 20.0
NOTHING = "nothing in these clips and places can be measured: give more clips (--hours) or other --places"
# What is missing where a measure lacks what it needs.
LACKING = {
    "phones": "it needs times of phones for all clips, and two different phones: give --labels",
    "words": "it needs times of words for all clips, and two different words: give --labels",
    "speakers": "it needs two speakers (--labels or --speakers)",
    "branches": "no layer has branches f and s",
}


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder to look at.

    Attributes:
        name: in the results; identity: of its weights, such as the SHA-256 of the checkpoint; load: gives the
            ``Encoder``.
    """

    name: str
    identity: str
    load: Callable[[], Any]


@dataclass(frozen=True)
class Audio:
    """What encoders hear, and what is known about it.

    Attributes:
        clips: in the order of the manifest; identity: of them and their labels.
        alignments: of each clip, or None.
        speakers: of each clip, "" where it is not known; or None.
    """

    clips: Sequence[Clip]
    identity: str
    alignments: Sequence[Alignment] | None
    speakers: Sequence[str] | None

    def labels(self) -> dict[str, Sequence[str]]:
        """Of clips, by kind; only kinds with two classes or more."""
        kinds: dict[str, Sequence[str]] = {}
        if self.speakers is not None:
            kinds["speakers"] = self.speakers
        elif self.alignments is not None:
            kinds["speakers"] = [alignment.speaker for alignment in self.alignments]
        if self.alignments is not None:
            kinds["languages"] = [alignment.language for alignment in self.alignments]
        return {kind: names for kind, names in kinds.items() if len(set(names) - {""}) > 1}

    def tiers(self) -> list[str]:
        """Tiers that all clips have, with two classes or more."""
        found = []
        for tier in TIERS:
            of_clips = [one.tiers[tier] for one in self.alignments or () if tier in one.tiers]
            if len(of_clips) == len(self.clips) and len({one.label for these in of_clips for one in these}) > 1:
                found.append(tier)
        return found

    def incomplete_tiers(self) -> dict[str, str]:
        """Why tiers that only some clips have are left out."""
        counts = {tier: sum(tier in one.tiers for one in self.alignments or ()) for tier in TIERS}
        return {
            tier: f"left out, as {len(self.clips) - count} of {len(self.clips)} clips have no such labels"
            for tier, count in counts.items()
            if 0 < count < len(self.clips)
        }


def analyse(
    encoders: Sequence[NamedEncoder],
    audio: Audio,
    measures: Sequence[str],
    places: Sequence[str],
    results: Path,
    seed: int,
    batch_seconds: float,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Compute what has no result yet, and write ``results.json`` after each measure.

    Args:
        measures: names out of ``MEASURES``.
        places: of the encoders, of ``places_of``; none: log-mel energies, latents and hidden states.
        results: folder; the states lie in it meanwhile.
        say: gets lines of progress.

    Returns:
        the content of ``results.json``.

    Raises:
        InputError: for results of other encoders, audio or places in the folder, an unknown measure or place, and audio
            that cannot be read.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise InputError(f"measure {unknown[0]!r} is unknown: choose of {', '.join(sorted(MEASURES))}")
    if places:  # of all, before anything is written
        for named in encoders:
            _chosen_places(named.load(), places, named.name)
    check_writable(results)
    with exclusive(results), _only_meanwhile(results / STATES):
        record = _Record(results / RESULTS, _about(encoders, audio, places, seed), say)
        for tier, reason in audio.incomplete_tiers().items():
            record.skip(tier, reason)
        # the same pairs whatever the order that encoders are named in
        pairs = list(combinations(sorted(encoders, key=lambda named: named.name), 2)) if "layers" in measures else []
        pairs = [pair for pair in pairs if not record.has(_title(*pair))]
        waiting = {encoder for pair in pairs for encoder in pair}
        seen: dict[str, Observed] = {}
        for named in encoders:
            missing = [MEASURES[name] for name in dict.fromkeys(measures) if not record.has(f"{named.name}: {name}")]
            if not missing and named not in waiting:
                continue
            encoder = named.load()
            chosen = _chosen_places(encoder, places, named.name)
            say(f"{named.name}: states at {len(chosen)} places")
            started = time.monotonic()
            kept = keep_states(encoder, audio.clips, chosen, results / STATES / named.name, batch_seconds)
            say(f"{named.name}: states in {time.monotonic() - started:.0f} s")
            observed = seen[named.name] = _observe(named.name, encoder, audio, kept, seed)
            for measure in missing:
                title = f"{named.name}: {measure.name}"
                if lacking := _lacking(measure, observed):
                    record.skip(title, LACKING[lacking[0]])
                else:
                    about = {"encoder": named.name, "measure": measure.name}
                    record.add(title, about, measure.run(observed, chosen))
            observed.encoder, observed.waves = None, {}  # pairs need its states alone
        for one, other in pairs:
            first, second = seen[one.name], seen[other.name]
            about = {"encoder": one.name, "measure": "layers", "other_encoder": other.name}
            hidden = [[place for place in each.states.places if place.isdigit()] for each in (first, second)]
            record.add(_title(one, other), about, between(first, second, *hidden))
    return record.content


@contextmanager
def _only_meanwhile(folder: Path) -> Iterator[None]:
    """Remove a folder before, where a run that was killed has left it, and after."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Record:
    """``results.json``, written after each measure, so that a run that was interrupted goes on."""

    def __init__(self, path: Path, about: dict[str, Any], say: Callable[[str], object]):
        self._path, self._say = path, say
        self.content: dict[str, Any] = {"about": about, "seconds": {}, "skipped": {}, "rows": []}
        if path.exists():
            try:
                found = json.loads(path.read_text())
                self.content = {key: found[key] for key in self.content}
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path} is no result of this command: choose another --results") from None
            about = json.loads(to_json(about))
            if not isinstance(self.content["about"], dict):
                raise InputError(f"{path} is no result of this command: choose another --results")
            others = [name for name in about if about[name] != self.content["about"].get(name)]
            if others:
                what = "audio or labels" if others[0] == "audio" else others[0]
                raise InputError(f"{path} is of another run, with other {what}: choose another --results")

    def has(self, title: str) -> bool:
        return title in self.content["seconds"] or title in self.content["skipped"]

    def skip(self, title: str, reason: str) -> None:
        self._say(f"{title}: not measured: {reason}")
        self.content["skipped"][title] = reason
        self._write()

    def add(self, title: str, about: dict[str, str], rows: Iterator[Row]) -> None:
        """Compute the rows and write them, or why there are none."""
        started = time.monotonic()
        found = []
        try:
            for row in rows:
                self._say(f"{title}: {row.place}")
                # as they will be read again
                estimate = (float(number) if np.isfinite(number) else None for number in row.estimate)
                numbers = dict(zip(("value", "low", "high"), estimate))
                found.append({**about, "place": row.place, "number": row.number, "other": row.other, **numbers})
        except InputError as error:
            self.skip(title, str(error))
            return
        if not found:
            self.skip(title, NOTHING)
            return
        self.content["rows"] += found
        self.content["seconds"][title] = round(time.monotonic() - started, 1)
        self._write()

    def _write(self) -> None:
        with atomic_write(self._path) as file:
            file.write(to_json(self.content, indent=1) + "\n")


def _title(one: NamedEncoder, other: NamedEncoder) -> str:
    return f"{one.name} and {other.name}: layers"


def _about(encoders: Sequence[NamedEncoder], audio: Audio, places: Sequence[str], seed: int) -> dict[str, Any]:
    """What results in one folder must have in common."""
    return {
        "encoders": {encoder.name: encoder.identity for encoder in encoders},
        "audio": audio.identity,
        "clips": len(audio.clips),
        "seconds": round(sum(clip.num_samples for clip in audio.clips) / SAMPLE_RATE_HZ, 1),
        "places": list(places),
        "seed": seed,
    }


def _chosen_places(encoder: Any, places: Sequence[str], name: str) -> list[str]:
    """Raises InputError for a place that the encoder has not."""
    if not places:
        return [MEL, LATENTS, *state_names(encoder.num_layers)]
    known = [MEL, *places_of(encoder)]
    for place in places:
        if place not in known:
            raise InputError(f"{name} has no place {place!r}: choose of {', '.join(known)}")
    return list(dict.fromkeys([MEL, *places]))


def _lacking(measure: Measure, observed: Observed) -> list[str]:
    """What the measure needs and is not there."""
    there = {*observed.frame_labels, *observed.clip_labels}
    modules = observed.encoder.branches()
    if any(name.endswith(".s") and f"{name[:-1]}f" in modules for name in modules):
        there.add("branches")
    return [need for need in measure.needs if need not in there]


def _observe(name: str, encoder: Any, audio: Audio, kept: KeptStates, seed: int) -> Observed:
    frame_labels: dict[str, Labels] = {}
    intervals = {}
    for tier in audio.tiers():
        alignments = [(audio.alignments or ())[position] for position in kept.order]
        frame_labels[tier], intervals[tier] = frames_of_tier(alignments, tier, kept.num_frames, kept.times)
    clip_labels = {
        kind: labels_of_clips([names[position] for position in kept.order]) for kind, names in audio.labels().items()
    }
    drawn = np.random.default_rng(seed).permutation(len(kept.order)).tolist()
    waves = {}
    for row in drawn[:NUM_WAVES]:
        clip = audio.clips[kept.order[row]]
        waves[row] = read_segment(open_clip(clip), *clip.part)[: int(LONGEST_WAVE_SECONDS * SAMPLE_RATE_HZ)]
    return Observed(name, kept, frame_labels, intervals, clip_labels, encoder, waves, seed)
