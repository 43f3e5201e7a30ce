"""Tests of examples/benchmarks/manifest_scale.py on small trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import manifest_scale
import pytest
import soundfile
from manifest_command import lengths
from manifest_scale import fairseq_manifest, make_tree

from summarymixing_fairseq.corpora.folder import prepare
from summarymixing_fairseq.corpora.writing.corpus import write_corpus
from summarymixing_fairseq.corpora.writing.options import ManifestOptions


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scale") / "tree"
    make_tree(root, 600)
    return root


def rows(folder: Path) -> dict[str, int]:
    return lengths(folder / "train.tsv") | lengths(folder / "valid.tsv")


def test_the_tree_is_nested_and_of_several_lengths(tree):
    files = [path for path in tree.rglob("*.flac") if ".sources" not in path.parts]
    assert len(files) == 600
    assert {len(path.relative_to(tree).parts) for path in files} == {3}
    assert len({path.parent for path in files}) == 2
    assert len({path.stat().st_ino for path in files}) == len({soundfile.info(path).frames for path in files}) == 16


def test_a_file_of_the_tree_has_no_more_names_than_a_disk_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_scale, "_MOST_LINKS", 10)
    num_sources = make_tree(tmp_path / "tree", 205)
    assert num_sources == 21
    names = [path.stat().st_nlink for path in (tmp_path / "tree").rglob("*.flac")]
    assert max(names) <= 11  # 10 and the source itself


def test_the_loop_it_is_compared_with_finds_the_same_files(tree, tmp_path):
    fairseq_manifest(tree, tmp_path / "loop", valid_fraction=0.1)
    options = ManifestOptions(tmp_path / "ours")
    write_corpus(prepare(tree, options, valid_fraction=0.1), options)
    assert rows(tmp_path / "loop") == rows(tmp_path / "ours")
    assert len(rows(tmp_path / "loop")) == 600


def test_the_command_prints_its_tables_and_leaves_nothing(tmp_path):
    command = [sys.executable, manifest_scale.__file__, "--folder", str(tmp_path), "--rounds", "1"]
    result = subprocess.run([*command, "--files", "200", "--tree", "700"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()]
    named = {row[0]: row[1:] for row in table if len(row) > 1}
    assert {"fairseq's loop", "summarymixing manifest, 1 worker", "summarymixing manifest, 2 workers"} <= named.keys()
    assert {"1 worker : 2 workers", "fairseq's loop : 2 workers"} <= named.keys()
    assert float(named["fairseq's loop"][0]) > 0
    assert float(named["700"][0]) > 0 and named["700"][1].endswith(" GiB")
    assert not list(tmp_path.iterdir())
