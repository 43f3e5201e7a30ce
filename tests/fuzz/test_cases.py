"""Inputs that broke a rule once, or are made to, stay unable to: see ``targets``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz.seeds import seeds
from fuzz.targets import AUDIO_HEAD, EXTENSIONS, TARGETS

CASES = sorted(path for path in (Path(__file__).parent / "cases").glob("*/*") if path.is_file())
MAX_CASES_BYTES = 300_000


def run(name: str, data: bytes) -> None:
    with np.errstate(all="ignore"):  # absurd levels overflow when they are added up
        TARGETS[name](data)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_case(path: Path) -> None:
    run(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_well_formed_inputs(name: str) -> None:
    assert len(seeds(name)) >= 3
    for seed in seeds(name):
        run(name, seed)


def test_every_target_has_cases_and_they_are_small() -> None:
    assert {path.parent.name for path in CASES} == set(TARGETS)
    assert sum(path.stat().st_size for path in CASES) < MAX_CASES_BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_an_error_of_another_class_is_not_let_through(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules can be broken: each reader is made to raise what is not ours."""
    from fuzz import targets

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError("not ours")

    places = {
        "manifest": (targets, "Manifest"),
        "transcripts": (targets.checks, "check_labels"),
        "dictionary": (targets.checkpoints, "letter_dictionary"),
        "config": (targets, "validate"),
        "audio": (targets.audio_reading, "read_segment"),
    }
    monkeypatch.setattr(*places[name], broken)
    with pytest.raises(KeyError):
        TARGETS[name](seeds(name)[0])


def test_memory_time_and_long_messages_are_violations(monkeypatch: pytest.MonkeyPatch) -> None:
    from fuzz import targets

    def with_reader(reader) -> None:
        monkeypatch.setattr(targets.audio_reading, "read_segment", reader)
        targets.audio(AUDIO_HEAD.pack(EXTENSIONS.index("wav") << 2, 0, 0))

    def refuse(message: str) -> None:
        raise targets.InputError(message)

    with pytest.raises(targets.Violation, match="characters"):
        with_reader(lambda *args, **kwargs: refuse("x" * 2000))
    with pytest.raises(targets.Violation, match="not one line"):
        with_reader(lambda *args, **kwargs: refuse("x\ny"))
    with pytest.raises(targets.Violation, match="MiB for 0 bytes"):
        with_reader(lambda *args, **kwargs: np.zeros(2**25, np.float32))
    monkeypatch.setattr(targets, "MAX_SECONDS", 0.0)
    with pytest.raises(targets.Violation, match="s for 0 bytes"):
        with_reader(lambda *args, **kwargs: refuse("at once"))
