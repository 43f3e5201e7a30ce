"""results.json: what is written can be read again, and other files are refused in one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from summarymixing_fairseq.probing.results import (
    EncoderSource,
    EvaluationData,
    Metric,
    Results,
    as_json,
    read_results,
)
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.machine import installed_versions

RESULTS = Results(
    task="speaker",
    head="ecapa",
    encoder=EncoderSource("summarymixing", "12 layers of 768", "runs/Ŵy/best.pt", "0" * 64),
    checkpoint="runs/probe.pt",
    config={"task": {"data": "/data"}, "optimizer": {"lr": [0.001, 0.01]}, "freeze": True, "none": None},
    data=EvaluationData("/data/voxceleb", "test", {"clips": 4708, "hours": 10.7, "speakers": 40, "trials": 37720}),
    seed=3,
    metrics={"eer": Metric(2.5, 2.1, 2.9, "%"), "min_dcf": Metric(0.25, 0.2, 0.3, "")},
    layer_weights=[0.25, 0.5, 0.25],
    versions={"torch": "2.1", "fairseq": "0.12", "summarymixing_fairseq": "0.1", "python": "3.11"},
)
YOUNGER = {"summary_shares"}  # fields that a file of an earlier version lacks


def test_round_trip(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(as_json(RESULTS))
    assert read_results(path) == RESULTS
    content = json.loads(path.read_text())
    assert content["schema_version"] == 1
    assert content["metrics"]["eer"] == {"value": 2.5, "low": 2.1, "high": 2.9, "unit": "%"}


def test_values_that_json_lacks(tmp_path):
    path = tmp_path / "results.json"
    config = {"lr": np.float32(0.5), "betas": (0.9, 0.98), "data": Path("a/b"), "clip": math.inf, "of": np.arange(2)}
    metrics = {"wer": Metric(np.float64(1), math.nan, math.nan, "%")}
    path.write_text(as_json(replace(RESULTS, config=config, metrics=metrics, layer_weights=list(np.full(2, 0.5)))))
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["metrics"]["wer"] == {"value": 1, "low": None, "high": None, "unit": "%"}
    results = read_results(path)
    assert results.config == {"lr": 0.5, "betas": [0.9, 0.98], "data": "a/b", "clip": None, "of": [0, 1]}
    assert math.isnan(results.metrics["wer"].low) and results.metrics["wer"].value == 1


def test_values_that_cannot_be_written():
    with pytest.raises(TypeError):
        as_json(replace(RESULTS, config={"object": object()}))


def paths_of(content: dict, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all required fields; free-form objects have no required fields."""
    fields = []
    for name, value in content.items():
        fields.append((*prefix, name))
        if isinstance(value, dict) and name not in ("config", "counts", "versions"):
            fields += paths_of(value, (*prefix, name))
    return [path for path in fields if path[:1] != ("metrics",) or len(path) != 2]


def test_files_of_earlier_versions(tmp_path):
    path = tmp_path / "results.json"
    content = json.loads(as_json(replace(RESULTS, summary_shares=[0.25])))
    for field in YOUNGER:
        del content[field]
    path.write_text(json.dumps(content))
    assert read_results(path) == RESULTS


def test_every_field_must_be_there(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(as_json(RESULTS))
    text = path.read_text()
    fields = [path for path in paths_of(json.loads(text)) if path[0] not in YOUNGER]
    assert {("seed",), ("encoder", "sha256"), ("data", "counts"), ("metrics", "eer", "low")} <= set(fields)
    for field in fields:
        content = json.loads(text)
        parent = content
        for name in field[:-1]:
            parent = parent[name]
        del parent[field[-1]]
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"results.json lacks the field {'.'.join(field)}: .*evaluate") as caught:
            read_results(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer_weights": [10**400]}, "field layer_weights.0: a number too large"),
        ({"metrics": {"eer": {"value": 10**400, "low": 1, "high": 1, "unit": ""}}}, "metrics.eer.value: a number too"),
        ({"data": {"folder": "", "split": "", "counts": {"clips": -(10**400)}}}, "counts.clips: a number too large"),
        ({"schema_version": "x" * 10_000}, "has schema version '.{39}, this release reads 1"),
        ({"schema_version": 2}, "has schema version 2, this release reads 1"),
        ({"seed": "3"}, "field seed: '3' is of the wrong type"),
        ({"layer_weights": ["a\nb"]}, "field layer_weights.0: 'a.nb' is of the wrong type"),
        ({"metrics": {"eer": 1}}, "field metrics.eer: 1 is of the wrong type"),
        ({"metrics": {"eer": {"value": "x", "low": 1, "high": 1, "unit": ""}}}, "field metrics.eer.value: 'x' is of"),
    ],
)
def test_wrong_fields(tmp_path, change, message):
    path = tmp_path / "results.json"
    path.write_text(as_json(RESULTS))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        *((content, "is not JSON") for content in (b"", b"{", b"\xff\xfe", b'{"task": "asr",}')),
        (b"[1, 2]", "is no JSON object"),
        (None, r"cannot be read \(No such file or directory\): evaluate"),
    ],
)
def test_no_results_file(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"results.json {message}"):
        read_results(path)


def test_versions():
    import torch

    versions = installed_versions()
    assert set(versions) == {"torch", "fairseq", "summarymixing_fairseq", "python"}
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0] and "0.12" in versions["fairseq"]
