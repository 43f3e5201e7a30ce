"""Inputs that once broke something, by target, and the bounds that the fuzzers rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz.targets import BASE_BYTES, TARGETS, Violation, bounded, refusable

from summarymixing_fairseq.system.errors import InputError

CASES = sorted(path for path in (Path(__file__).parent / "cases").glob("*/*") if path.is_file())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_case(case):
    TARGETS[case.parent.name](case.read_bytes())


def test_the_corpus_is_small_and_of_known_targets():
    assert sum(case.stat().st_size for case in CASES) < 300_000
    assert {case.parent.name for case in CASES} <= TARGETS.keys()


def test_the_bounds_catch_what_they_should():
    with pytest.raises(Violation, match="of Python's memory"), bounded(10):
        np.empty(BASE_BYTES + 10**6, np.uint8)
    with pytest.raises(Violation, match="not a line to read"), refusable():
        raise InputError("two\nlines")
    with pytest.raises(ZeroDivisionError), refusable():
        raise ZeroDivisionError
