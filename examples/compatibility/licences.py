"""The table of dependencies and their licences, from an environment that ``constraints.txt`` made.

    make install && .venv/bin/python examples/compatibility/licences.py > docs/dependencies.md

pip-licenses reads the licences; this script adds what needs a distribution, and what wheels carry. It fails with a list
of what is wrong if a pinned distribution is not installed in its version, or states no licence.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
PACKAGE = "summarymixing-fairseq"
EXTRAS = ("lm", "benchmark", "vad", "quickstart", "slurm", "fuzz", "test", "dev")
# Distributions whose metadata says nothing, or nothing clear.
STATED_ELSEWHERE = {
    "atheris": "Apache-2.0",  # the LICENSE in its wheel
    "espeakng-loader": "none stated",
    "flashlight-text": "MIT",  # the LICENSE in its wheel; the metadata says BSD
}
# What wheels carry under another licence than their own that is not permissive.
CARRIED = {
    "espeakng-loader": "the library of eSpeak NG: GPL-3.0-or-later",
    "flashlight-text": "KenLM: LGPL-2.1-or-later",
    "numpy": "libquadmath: LGPL-2.1-or-later",
    "scipy": "libquadmath: LGPL-2.1-or-later",
    "soundfile": "libsndfile, LAME and mpg123: LGPL",
}
COPYLEFT = ("GPL", "MPL", "Mozilla")
# CUDA builds of torch bring these, in versions that torch itself pins.
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")

HEAD = """# Dependencies and their licences

All distributions that `constraints.txt` pins, as `pip-licenses` reads their metadata in an environment made by `make
install` on Python 3.11, Linux x86-64. "Needed for" is `base` or the extras that bring it (`pip install -e ".[lm]"`).
Made by

```
.venv/bin/python examples/compatibility/licences.py > docs/dependencies.md
```

{copyleft}

None is non-commercial. They are used as they are, by import; this package itself is MIT. What only `test` or
`quickstart` brings is not needed to train, fine-tune or decode. CUDA builds of torch also bring NVIDIA's libraries,
under NVIDIA's own terms.

Versions that the package was checked with: [examples/compatibility](../examples/compatibility/README.md).
"""


def installed() -> dict[str, tuple[str, str]]:
    """Version and licence ("" if none is stated) of every installed distribution, by canonical name."""
    command = [sys.executable, "-m", "piplicenses", "--with-system", "--format=json", "--from=mixed"]
    listed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    found = {canonicalize_name(entry["Name"]): entry for entry in listed}
    licences = {name: "" if entry["License"] == "UNKNOWN" else entry["License"] for name, entry in found.items()}
    return {name: (entry["Version"], STATED_ELSEWHERE.get(name, licences[name])) for name, entry in found.items()}


def needed(extra: str) -> set[str]:
    """Canonical names of all that the package needs with an extra ("" for none), directly or not."""
    found: set[tuple[str, str]] = set()
    waiting = [(PACKAGE, ""), (PACKAGE, extra)]
    while waiting:
        name, of_extra = waiting.pop()
        if (name, of_extra) in found:
            continue
        found.add((name, of_extra))
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform; a missing pin is reported elsewhere
            continue
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": of_extra}):
                waiting += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in found} - {PACKAGE}


def rows(constraints: Iterable[str], found: dict[str, tuple[str, str]]) -> list[tuple[str, str, str, str]]:
    """Name, version, licence and need of each pin.

    Args:
        constraints: lines of the file; found: as ``installed`` returns it.

    Raises:
        ValueError: with a line for each pin that is not installed as pinned, needed by nothing or without a licence,
            and for each need that is not pinned.
    """
    base = needed("")
    by_extra = {extra: needed(extra) for extra in EXTRAS}
    table, problems = [], []
    for name, version in (line.strip().split("==") for line in constraints if line.strip() and line[0] != "#"):
        canonical = canonicalize_name(name)
        installed_version, terms = found.get(canonical, ("", ""))
        extras = ["base"] if canonical in base else [e for e in EXTRAS if canonical in by_extra[e]]
        if not installed_version:
            problems.append(f"{name}=={version} is not installed")
        elif installed_version.split("+")[0] != version:
            problems.append(f"{name} is installed as {installed_version}, pinned as {version}")
        elif not terms:
            problems.append(f"{name} states no licence: look it up, and add it to STATED_ELSEWHERE")
        elif not extras:
            problems.append(f"{name} is pinned, but nothing needs it")
        carried = f"; carries {CARRIED[canonical]}" if canonical in CARRIED else ""
        table.append((name, version, terms + carried, ", ".join(extras)))
    unpinned = base.union(*by_extra.values()) & found.keys() - {canonicalize_name(row[0]) for row in table}
    problems += [f"{n} is needed, but not pinned" for n in sorted(unpinned) if not n.startswith(CUDA_PREFIXES)]
    if problems:
        raise ValueError("\n".join(problems))
    return table


def page(table: list[tuple[str, str, str, str]]) -> str:
    """The whole page."""
    strict = [
        f"{name} ({CARRIED.get(canonicalize_name(name), terms)}; {need})"
        for name, _, terms, need in table
        if any(word in terms for word in COPYLEFT)
    ]
    copyleft = textwrap.fill(f"Not permissive, in whole or in part: {'; '.join(strict)}.", 120)
    lines = ["| name | version | licence | needed for |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in table]
    return HEAD.format(copyleft=copyleft) + "\n" + "\n".join(lines) + "\n"


def main() -> int:
    """Print the page."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    try:
        print(page(rows(CONSTRAINTS.read_text(encoding="utf-8").splitlines(), installed())), end="")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
