"""README, CONTRIBUTING and the pages of docs/: what they show of the code is what the code says."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT

from summarymixing_fairseq.commands.main import build_parser
from summarymixing_fairseq.commands.options import as_markdown

DOCS = ROOT / "docs"
CONFIGURATION = DOCS / "configuration.md"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BESIDE = [ROOT / "manifests" / "README.md", ROOT / "studies" / "README.md", *(ROOT / "examples").glob("*/README.md")]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(BESIDE))
}


def with_options(text: str) -> str:
    """The page with the options of the mixers and objectives that there are."""
    table = f"<!-- options -->\n{as_markdown()}\n<!-- end of options -->"
    return re.sub(r"<!-- options -->.*<!-- end of options -->", lambda _: table, text, flags=re.DOTALL)


def test_the_options_of_mixers_and_objectives_are_those_that_there_are():
    """`make options` writes them."""
    page = CONFIGURATION.read_text(encoding="utf-8")
    assert with_options(page) == page and "<!-- options -->" in page


def test_the_file_tree_shows_every_folder():
    tree = PAGES["docs/layout.md"].partition("summarymixing_fairseq/   the user-dir")[2]
    folders = [path.parent.name for path in (ROOT / "summarymixing_fairseq").glob("*/__init__.py")]
    assert sorted(folders) == sorted(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))


def test_no_two_manifests_of_a_page_share_a_folder():
    command = re.compile(r"^summarymixing manifest (?:folder|join|librilight|librispeech) .*--dest (\S+)", re.M)
    places = {name: command.findall(page) for name, page in PAGES.items()}
    assert sum(map(len, places.values())) >= 4
    assert [name for name, found in places.items() if len(set(found)) < len(found)] == []


@pytest.mark.parametrize("name", PAGES)
def test_paths_are_there(name):
    """Files and folders of the repository, in backquotes or links. Links count from the page's folder."""
    text = re.sub(r"^```.*?^```", "", PAGES[name], flags=re.MULTILINE | re.DOTALL)
    quoted = re.findall(r"`((?:summarymixing_fairseq|tests|examples|manifests|docs)/[\w./]+)", text)
    linked = re.findall(r"\]\(((?!http|#)[^)#]+)", text)
    missing = [path for path in quoted if not re.search("NAME|MIXER", path) and not (ROOT / path).exists()]
    assert missing + [path for path in linked if not (ROOT / name).parent.joinpath(path).exists()] == []


def test_readme_is_short_and_shows_a_picture():
    assert len(PAGES["README.md"].splitlines()) <= 150
    assert len(re.findall(r"^!\[[^\]]+\]\(", PAGES["README.md"], re.MULTILINE)) == 1


def test_every_page_is_in_the_navigation():
    nav = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])
    assert sorted(set(PAGES) - set(nav)) == [] and len(nav) == len(set(nav))
    assert [path for path in nav if not (ROOT / path).exists()] == []
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["hooks"] == ["docs/hook.py"]


def commands(text: str) -> Iterator[list[str]]:
    """Arguments of every `summarymixing` in the text's blocks that could be typed as it is."""
    for block in re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("| ")[-1].strip()
            if command.startswith("summarymixing "):
                yield shlex.split(command.partition(" > ")[0], comments=True)[1:]


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if any(commands(page))])
def test_commands_have_the_options_that_pages_name(name, capsys):
    for words in commands(PAGES[name]):
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")


def messages(path: Path) -> Iterator[str]:
    """Texts of a file of Python, with … where something is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield re.sub("…+", "…", text)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[.\d]*[sdfrg]", "…", node.value)


def test_messages_of_the_faq_are_those_that_the_code_prints():
    said = "\n".join(text for path in (ROOT / "summarymixing_fairseq").rglob("*.py") for text in messages(path))
    quoted = re.findall(r"^```text\n(.*?)\n```", PAGES["docs/faq.md"], re.MULTILINE | re.DOTALL)
    assert len(quoted) > 20
    assert [message for message in quoted if message not in said] == []


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
    CONFIGURATION.write_text(with_options(CONFIGURATION.read_text(encoding="utf-8")), encoding="utf-8")
