"""Every target on inputs that once broke something, and by hypothesis: seconds, or minutes with `pytest -m long`."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz.targets import (
    AUDIO_HEAD,
    BASE_BYTES,
    EXTENSIONS,
    SEEDS,
    TARGETS,
    Violation,
    audio_seeds,
    bounded,
    refusable,
    warm_up,
)
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from summarymixing_fairseq.system.errors import InputError

CASES = sorted(path for path in (Path(__file__).parent / "cases").glob("*/*") if path.is_file())

# Minutes of each target in the long run.
MINUTES = float(os.environ.get("FUZZ_MINUTES", "3"))
QUICK_EXAMPLES = {"manifest": 80, "transcripts": 100, "dictionary": 100, "config": 60, "audio": 60, "table": 80}

piece = st.sampled_from(
    [b"\t", b"\n", b"\r\n", b"\t5", b"\t1600\n", b"x.wav", b"a/y.wav", b"z.wav\t1600\n", b"out/z.wav\t1600\n"]
    + [b"../", b"..", b"/", b"./", b"\0", b".zip:", b".tar:", b"1:2", b"\xff", b" ", b"9" * 18, b"a/../", "ü".encode()]
)
lines = st.lists(piece | st.binary(max_size=6), max_size=12).map(b"".join)
letters = st.lists(
    st.sampled_from([b"A", b"B", b" ", b"|", b"\n", b"\r", b"<s>", b" 1\n", b" #fairseq:overwrite\n", b"\xc2\x85"])
    | st.binary(max_size=4),
    max_size=20,
).map(b"".join)


cells = st.lists(
    st.sampled_from(
        [b"audio", b"text", b"x.wav", b"start", b"end", b"u ", b"1e999", b"nan", b"-1", b"/dev/zero", b"../"]
    )
    | st.sampled_from(
        [b",", b";", b"|", b"\t", b"\n", b'"', b"{", b"}", b"[", b":", b"\\ud800", b"\xe2\x80\xa8", b"null"]
    )
    | st.binary(max_size=4),
    max_size=20,
).map(b"".join)


@functools.lru_cache(maxsize=1)
def audio_files() -> list[bytes]:
    """Seeds without their heads."""
    return [data[AUDIO_HEAD.size :] for data in audio_seeds()]


@st.composite
def broken_audio(draw: st.DrawFn) -> bytes:
    """A real file with bytes changed, inserted or cut off, or at times random bytes."""
    offsets = st.sampled_from([0, 1, 100, 2**31, 2**62, -1]) | st.integers(-(2**63), 2**63 - 1)
    head = AUDIO_HEAD.pack(draw(st.integers(0, len(EXTENSIONS) - 1)), draw(offsets), draw(st.integers(0, 2**32 - 1)))
    if draw(st.integers(0, 9)) == 0:
        return head + draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(audio_files())))
    for _ in range(draw(st.integers(0, 8))):
        # mostly in the header
        at = draw(st.integers(0, min(len(content), 120)) | st.integers(0, len(content)))
        what = draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]))
        end = at + (len(what) if draw(st.booleans()) else 0)
        content[at:end] = what
    cut = draw(st.none() | st.integers(0, len(content)))
    return head + bytes(content[:cut])


@st.composite
def broken_seed(draw: st.DrawFn, name: str) -> bytes:
    """A seed of a target without its first two bytes, with some of its bytes changed, inserted or cut off."""
    content = bytearray(draw(st.sampled_from(SEEDS[name]))[2:])
    for _ in range(draw(st.integers(0, 3))):
        at, end = (draw(st.integers(0, len(content))) for _ in range(2))
        content[min(at, end) : max(at, end) if draw(st.booleans()) else min(at, end)] = draw(cells)
    return bytes(content)


INPUTS = {
    "manifest": st.builds(bytes.__add__, st.binary(min_size=1, max_size=1), lines | st.binary(max_size=80)),
    "transcripts": st.builds(bytes.__add__, st.binary(min_size=2, max_size=2), letters | st.binary(max_size=80)),
    "dictionary": letters | st.binary(max_size=80),
    "config": st.binary(max_size=120),
    "audio": broken_audio(),
    "table": st.builds(bytes.__add__, st.binary(min_size=2, max_size=2), cells | broken_seed("table")),
}


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """The first calls import and fill caches, which must not count for an input."""
    warm_up()
    for data in audio_seeds():
        TARGETS["audio"](data)


def run(name: str, num_examples: int, number: int) -> None:
    """One round of hypothesis."""

    @seed(number)
    @settings(max_examples=num_examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[name])
    def fuzz(data: bytes) -> None:
        TARGETS[name](data)

    fuzz()


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


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_a_few_inputs(name):
    for data in SEEDS[name]:
        TARGETS[name](data)
    run(name, QUICK_EXAMPLES[name], 1)


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_minutes(name, capsys):
    """Prints how many inputs it tried."""
    target, tried = TARGETS[name], 0

    def counted(data: bytes) -> None:
        nonlocal tried
        tried += 1
        target(data)

    started, number = time.monotonic(), time.time_ns() % 10**9
    try:
        TARGETS[name] = counted
        while time.monotonic() - started < 60 * MINUTES:
            run(name, 1000, number)
            number += 1
    finally:
        TARGETS[name] = target
        with capsys.disabled():
            print(f"\nhypothesis, {name}: {tried:,} inputs in {(time.monotonic() - started) / 60:.1f} minutes")
