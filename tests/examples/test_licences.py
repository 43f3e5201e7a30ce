"""Every dependency that is pinned stands in the table of licences, as it is pinned."""

from __future__ import annotations

import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest
from pipeline import ROOT

SCRIPT = ROOT / "examples" / "compatibility" / "licences.py"
CONSTRAINTS = ROOT / "constraints.txt"


@pytest.fixture
def licences(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import licences

    yield licences
    sys.modules.pop("licences", None)


def pinned() -> dict[str, str]:
    lines = CONSTRAINTS.read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_pin_is_in_the_table_with_its_version_and_licence() -> None:
    lines = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")][1:]
    assert {row[0]: row[1] for row in table} == pinned()
    assert all(len(row) == 4 and row[2] and row[3] for row in table)


def test_the_page_is_what_the_script_makes() -> None:
    """By a process of its own: the metadata that is read is the environment's."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120)
    if "is installed as" in done.stderr or "is not installed" in done.stderr:
        pytest.skip("this environment is not that of constraints.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "dependencies.md").read_text()


def test_what_is_wrong_is_listed(licences) -> None:
    with pytest.raises(ValueError) as error:
        licences.rows(["# a comment", "torch==0.1", "no-such-distribution==1.0", "pip==1.0"])
    problems = str(error.value).splitlines()
    assert "no-such-distribution==1.0 is not installed" in problems
    assert any(line.startswith("torch is installed as 2.") for line in problems)
    assert "numpy is needed, but not pinned" in problems


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT-0", "License": "a licence"}, "MIT-0"),
        ({"License": "MIT", "Classifier": "License :: OSI Approved :: BSD License"}, "MIT"),
        ({"License": "long\ntext", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD License"),
        ({"License": "UNKNOWN", "Classifier": "Topic :: Software Development"}, ""),
        ({}, ""),
    ],
)
def test_licence_out_of_metadata(licences, fields: dict[str, str], expected: str) -> None:
    message = Message()
    for name, value in fields.items():
        message._headers.append((name, value))  # as the metadata of a wheel, which may hold line ends
    assert licences.licence("a-name", message) == expected


def test_a_distribution_without_a_licence_is_refused(licences, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "licence", lambda name, fields: "")
    version = licences.metadata.version("numpy")
    with pytest.raises(ValueError, match="numpy states no licence"):
        licences.rows([f"numpy=={version}"])


def test_copyleft_is_pointed_out(licences) -> None:
    table = [("one", "1", "MIT", "base"), ("two", "2", "LGPL-2.1-or-later", "base"), ("soundfile", "3", "LGPL", "lm")]
    page = licences.page(table)
    assert "two (LGPL-2.1-or-later; base)" in page and "soundfile (libsndfile" in page and "one (" not in page


def test_paths_of_the_page_lead_somewhere() -> None:
    assert (ROOT / "docs" / Path("../examples/compatibility/README.md")).is_file()
