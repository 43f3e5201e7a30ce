"""JSON that any strict reader takes, and no other way to write it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from summarymixing_fairseq.system.strict_json import to_json

ROOT = Path(__file__).parents[2]
# read by this package alone, and by the same version of it, so names keep their bytes; and strings from a script that
# must run where the package cannot be imported
OWN = {
    "summarymixing_fairseq/corpora/audio/scan.py",
    "summarymixing_fairseq/benchmarks/runner.py",
    "examples/compatibility/check.py",
}


def strict(text: str) -> object:
    def refuse(name: str) -> None:
        raise AssertionError(f"{text!r} holds {name}")

    text.encode("utf-8")
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ([1.5, float("nan"), float("inf"), -float("inf"), 10**400], [1.5, None, None, None, 10**400]),
        ({"a": np.float32("nan"), "b": np.arange(2), "c": np.array([np.inf])}, {"a": None, "b": [0, 1], "c": [None]}),
        ({1: (True, None), float("nan"): Path("a/b")}, {"1": [True, None], "nan": "a/b"}),
        ({"\udcff": "caf\u00e9 \udc80\t\n\x1b\u2028"}, {"\\udcff": "caf\u00e9 \\udc80\t\n\x1b\u2028"}),
        ({}, {}),
        (None, None),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_values(value, read, indent):
    assert strict(to_json(value, indent)) == read


def test_what_json_has_no_form_for():
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_nothing_else_writes_json():
    folders = ("summarymixing_fairseq", "hydra_plugins", "examples", "manifests")
    found = set()
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json":
                found.add(path.relative_to(ROOT).as_posix())
            assert not (isinstance(node, ast.ImportFrom) and node.module == "json"), path
    assert found == OWN | {"summarymixing_fairseq/system/strict_json.py"}
