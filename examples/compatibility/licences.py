"""The table of dependencies and their licences, out of the metadata of an environment that ``constraints.txt`` made.

    make install && .venv/bin/python examples/compatibility/licences.py > docs/dependencies.md

Fails with a list of what is wrong if a pinned distribution is not installed in its version, or states no licence that
is known here.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
PACKAGE = "summarymixing-fairseq"
EXTRAS = ("lm", "benchmark", "vad", "quickstart", "slurm", "fuzz", "test")
# Metadata that is longer than this is the licence's text rather than its name
LONGEST_NAME = 120
# Where the metadata says nothing, or nothing clear
STATED_ELSEWHERE = {
    "atheris": "Apache-2.0",  # the LICENSE in its wheel; the metadata says nothing
    "espeakng-loader": "none stated",
    "flashlight-text": "MIT",  # the LICENSE in its wheel; the metadata says BSD
}
# What wheels carry that is under another licence than theirs, and is not permissive
CARRIED = {
    "espeakng-loader": "the library of eSpeak NG: GPL-3.0-or-later",
    "flashlight-text": "KenLM: LGPL-2.1-or-later",
    "numpy": "libquadmath: LGPL-2.1-or-later",
    "scipy": "libquadmath: LGPL-2.1-or-later",
    "soundfile": "libsndfile, LAME and mpg123: LGPL",
}
COPYLEFT = ("GPL", "MPL")
# CUDA builds of torch bring these, in versions that torch itself pins
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")

HEAD = """# Dependencies and their licences

All distributions that `constraints.txt` pins, as their metadata says, from an environment made by `make install` on
Python 3.11, Linux x86-64. "Needed for" is `base` or the extras that bring it (`pip install -e ".[lm]"`). Made by

```
.venv/bin/python examples/compatibility/licences.py > docs/dependencies.md
```

{copyleft}

None is non-commercial. They are used as they are, by import; this package itself is MIT. What only `test` or
`quickstart` brings is not needed to train, fine-tune or decode. CUDA builds of torch also bring NVIDIA's libraries,
under NVIDIA's own terms.

Versions that the package was checked with: [examples/compatibility](../examples/compatibility/README.md).
"""


def canonical(name: str) -> str:
    """A distribution's name as the registry compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def pins(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and version of each pin of a constraints file."""
    for line in lines:
        if line.strip() and not line.startswith("#"):
            name, version = line.strip().split("==")
            yield name, version


def licence(name: str, fields: metadata.PackageMetadata) -> str:
    """The licence of a distribution, ``""`` if it states none."""
    if canonical(name) in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[canonical(name)]
    stated = fields.get("License-Expression") or fields.get("License") or ""
    if stated and stated != "UNKNOWN" and len(stated) <= LONGEST_NAME and "\n" not in stated:
        return stated
    names = [c.split(" :: ")[-1] for c in fields.get_all("Classifier") or () if c.startswith("License ::")]
    return ", ".join(names)


def needed(extra: str) -> set[str]:
    """Canonical names of all that the package needs, directly or not, with an extra (``""``: without)."""
    from packaging.requirements import Requirement

    found: set[tuple[str, str]] = set()
    waiting = [(PACKAGE, ""), (PACKAGE, extra)]
    while waiting:
        name, of_extra = waiting.pop()
        if (name, of_extra) in found:
            continue
        found.add((name, of_extra))
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # a need of another platform's; a pin that is missing is reported apart
            continue
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": of_extra}):
                waiting += [(canonical(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in found} - {PACKAGE}


def rows(constraints: Iterable[str]) -> list[tuple[str, str, str, str]]:
    """Name, version, licence and need of each pin.

    Raises:
        ValueError: with a line for each pin that is not installed as it is pinned, is needed by nothing, or has no
            licence, and for each need that is not pinned.
    """
    base = needed("")
    by_extra = {extra: needed(extra) for extra in EXTRAS}
    table, problems = [], []
    for name, version in pins(constraints):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name}=={version} is not installed")
            continue
        if found.version.split("+")[0] != version:
            problems.append(f"{name} is installed as {found.version}, pinned as {version}")
        terms = licence(name, found.metadata)
        extras = ["base"] if canonical(name) in base else [e for e in EXTRAS if canonical(name) in by_extra[e]]
        if not terms:
            problems.append(f"{name} states no licence: look it up, and add it to STATED_ELSEWHERE")
        if not extras:
            problems.append(f"{name} is pinned, but nothing needs it")
        carried = CARRIED.get(canonical(name))
        table.append((name, version, f"{terms}; carries {carried}" if carried else terms, ", ".join(extras)))
    unpinned = base.union(*by_extra.values()) - {canonical(row[0]) for row in table}
    problems += [
        f"{name} is needed, but not pinned"
        for name in sorted(unpinned)
        if installed(name) and not name.startswith(CUDA_PREFIXES)
    ]
    if problems:
        raise ValueError("\n".join(problems))
    return table


def installed(name: str) -> bool:
    """Whether a distribution is there."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def page(table: list[tuple[str, str, str, str]]) -> str:
    """The whole page."""
    strict = [
        f"{name} ({CARRIED.get(canonical(name), terms)}; {need})"
        for name, _, terms, need in table
        if any(c in terms for c in COPYLEFT)
    ]
    copyleft = textwrap.fill(f"Not permissive, in whole or in part: {'; '.join(strict)}.", 120)
    lines = ["| name | version | licence | needed for |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in table]
    return HEAD.format(copyleft=copyleft) + "\n" + "\n".join(lines) + "\n"


def main() -> int:
    """Print the page."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    try:
        print(page(rows(CONSTRAINTS.read_text(encoding="utf-8").splitlines())), end="")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
