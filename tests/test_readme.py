"""README and CONTRIBUTING: what they show of the code is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pipeline import ROOT

from summarymixing_fairseq.commands.options import as_markdown

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def with_options(text: str) -> str:
    """The README with the options of the mixers and objectives that there are."""
    table = f"<!-- options -->\n{as_markdown()}\n<!-- end of options -->"
    return re.sub(r"<!-- options -->.*<!-- end of options -->", lambda _: table, text, flags=re.DOTALL)


def test_the_options_of_mixers_and_objectives_are_those_that_there_are():
    """`make readme` writes them."""
    assert with_options(README) == README and "<!-- options -->" in README


def test_the_file_tree_shows_every_folder():
    tree = README[README.index("summarymixing_fairseq/   the user-dir") :]
    folders = [path.parent.name for path in (ROOT / "summarymixing_fairseq").glob("*/__init__.py")]
    assert sorted(folders) == sorted(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))


def test_no_two_manifests_of_the_readme_share_a_folder():
    places = re.findall(r"^summarymixing manifest (?:folder|join|librilight|librispeech) .*--dest (\S+)", README, re.M)
    assert len(places) >= 4 and len(set(places)) == len(places)


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_paths_are_there(text):
    """Files and folders of the repository, in backquotes or links."""
    quoted = re.findall(r"`((?:summarymixing_fairseq|tests|examples|manifests|docs)/[\w./]+)", text)
    linked = re.findall(r"\]\(((?!http)[^)#]+)", text)
    missing = [path for path in (*quoted, *linked) if "NAME" not in path and not (ROOT / path).exists()]
    assert not missing


def test_each_way_to_add_something_is_short_and_names_what_there_is():
    sections = re.split(r"^## ", CONTRIBUTING, flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    for wanted in ("A mixer", "An objective", "A corpus", "A head", "A command", "An export"):
        assert wanted in titles
    assert all(len(section.rstrip().splitlines()) <= 21 for section in sections)
    source = "\n".join(path.read_text(encoding="utf-8") for path in Path(ROOT, "summarymixing_fairseq").rglob("*.py"))
    for name in re.findall(r"`@?(\w+)(?:\(|`)", CONTRIBUTING):
        if "_" in name and name not in ("embed_dim", "padding_mask"):
            assert re.search(rf"\b{name}\b", source), name


if __name__ == "__main__":
    (ROOT / "README.md").write_text(with_options(README), encoding="utf-8")
