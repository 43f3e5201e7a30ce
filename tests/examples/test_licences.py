"""Every dependency is pinned, and stands in the table of licences as it is pinned."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pipeline import BIN, ROOT

PACKAGE = "summarymixing-fairseq"
# CUDA builds of torch bring these, in versions that torch itself pins.
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PROSE, _, TABLE = PAGE.partition("| Name | Version | License |\n|-|-|-|\n")
ROWS = re.findall(r"\| (.+) \| (.+) \| (.+) \|", TABLE)


def test_every_pin_is_in_the_table_with_its_version() -> None:
    table = {canonicalize_name(name): version for name, version, _ in ROWS}
    assert table == {canonicalize_name(name): version for name, version in PINS.items()}


def test_the_table_is_what_pip_licenses_prints() -> None:
    """In the pinned environment; by a process of its own, as metadata are the environment's."""
    command = re.search(r"^\.venv/bin/(pip-licenses .*?)^```", PROSE, re.MULTILINE | re.DOTALL)[1]
    done = subprocess.run(f"{BIN}/{command}", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)  # noqa: S602
    assert not done.returncode, done.stderr
    printed = done.stdout.partition("\n|-|-|-|\n")[2]
    if [row[:2] for row in re.findall(r"\| (.+) \| (.+) \| (.+) \|", printed)] != [row[:2] for row in ROWS]:
        pytest.skip("this environment is not that of constraints.txt")
    assert printed == TABLE


def test_what_is_not_permissive_or_not_stated_is_explained() -> None:
    named = [name for name, _, terms in ROWS if re.search("GPL|MPL|Mozilla|UNKNOWN", terms)]
    assert {"soxr", "espeakng-loader"} <= set(named)
    assert [name for name in named if f"{name} (" not in PROSE] == []


def requirements(name: str, extras: list[str]) -> Iterator[str]:
    for requirement in map(Requirement, metadata.requires(name) or []):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield canonicalize_name(requirement.name)


def test_what_is_pinned_is_what_is_needed() -> None:
    extras = {*metadata.metadata(PACKAGE).get_all("Provides-Extra")} - {
        "wandb",
        "hf",
        "hub",
        "onnx",
        "sherpa",
    }  # twenty packages each
    needed = {*requirements(PACKAGE, ["", *extras])} - {PACKAGE}
    for name in PINS:
        needed.update(requirements(name, [""]))
    unpinned = needed - {*map(canonicalize_name, PINS)}
    assert [name for name in sorted(unpinned) if not name.startswith(CUDA_PREFIXES)] == []
    assert {*map(canonicalize_name, PINS)} - needed == set()
