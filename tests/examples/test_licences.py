"""Every dependency that is pinned is in the table of licences, as it is pinned."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
from pipeline import ROOT

SCRIPT = ROOT / "examples" / "compatibility" / "licences.py"


@pytest.fixture(scope="module")
def licences(load_script) -> ModuleType:
    return load_script("compatibility/licences.py")


def test_every_pin_is_in_the_table_with_its_version_and_licence() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
    lines = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")][1:]
    assert {row[0]: row[1] for row in table} == pins
    assert all(len(row) == 4 and row[2] and row[3] for row in table)
    assert (ROOT / "examples" / "compatibility" / "README.md").is_file()  # the page's link


def test_the_page_is_what_the_script_makes() -> None:
    """By a process of its own: the metadata that is read is the environment's."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120)
    if "is installed as" in done.stderr or "is not installed" in done.stderr:
        pytest.skip("this environment is not that of constraints.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "dependencies.md").read_text()


def test_what_is_wrong_is_listed(licences) -> None:
    found = {"torch": ("2.13.0+cpu", "BSD"), "numpy": ("2.4.6", ""), "pip": ("1.0", "MIT"), "soxr": ("1.1.0", "LGPL")}
    pins = ["# a comment", "torch==0.1", "no-such-distribution==1.0", "pip==1.0", "numpy==2.4.6"]
    with pytest.raises(ValueError) as error:
        licences.rows(pins, found)
    assert str(error.value).splitlines() == [
        "torch is installed as 2.13.0+cpu, pinned as 0.1",
        "no-such-distribution==1.0 is not installed",
        "pip is pinned, but nothing needs it",
        "numpy states no licence: look it up, and add it to STATED_ELSEWHERE",
        "soxr is needed, but not pinned",
    ]


def test_what_metadata_does_not_say_is_added(licences) -> None:
    assert licences.installed()["flashlight-text"][1] == "MIT"
    (row,) = licences.rows(["numpy==2"], {"numpy": ("2", "BSD")})
    assert row == ("numpy", "2", "BSD; carries libquadmath: LGPL-2.1-or-later", "base")


def test_copyleft_is_pointed_out(licences) -> None:
    table = [("one", "1", "MIT", "base"), ("two", "2", "LGPL-2.1-or-later", "base"), ("soundfile", "3", "LGPL", "lm")]
    page = licences.page(table)
    assert "two (LGPL-2.1-or-later; base)" in page and "soundfile (libsndfile" in page and "one (" not in page
