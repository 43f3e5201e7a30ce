"""`summarymixing benchmark`, every benchmark at a tiny size."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import yaml
from pipeline import run

from summarymixing_fairseq.benchmarks.suite import BENCHMARKS
from summarymixing_fairseq.benchmarks.suite.update import PAPER_SETTING
from summarymixing_fairseq.commands import benchmark
from summarymixing_fairseq.commands.main import build_parser, main
from summarymixing_fairseq.modules.mixing import MIXERS

ROOT = Path(__file__).resolve().parents[2]
# Small sizes of each benchmark; RECIPE stands for a tiny one.
SMALL = {
    "cell": "--lengths 30 --dim 16 --heads 2 --batch 2",
    "objective": "--masked 40 --batch 2 --negatives 9",
    "filterbank": "--seconds 1",
    "data": "--clips 6 --workers 1",
    "manifest": "--rows 3000 --workers 2",
    "update": "--config RECIPE --seconds 1 --clips 2",
    "length": "--config RECIPE --seconds 2",
    "stream": "--config RECIPE --chunk-ms 160",
}


@pytest.fixture(scope="module")
def tiny_recipe(tmp_path_factory) -> str:
    recipe = yaml.safe_load((ROOT / "examples" / "pretraining" / "base.yaml").read_text())
    sizes = {"encoder_layers": 1, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 32, "frontend_channels": 16}
    recipe["model"].update(sizes, final_dim=16, latent_vars=8)
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def arguments(name: str, recipe: str) -> list[str]:
    return ["benchmark", name, *SMALL[name].replace("RECIPE", recipe).split(), "--device", "cpu", "--threads", "1"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name == "filterbank" else name for name in BENCHMARKS]
)
def test_every_contender_runs(name, tiny_recipe, tmp_path, monkeypatch):
    """In this process; a process of its own is needed for the paper's setting alone, which replaces what it uses.

    Of the mixers in a whole model two run here, and all in tests/models/test_wav2vec2_summarymixing.py.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    args = build_parser().parse_args(arguments(name, tiny_recipe))
    settings = {setting: getattr(args, setting) for setting in args.settings}
    left_out = {PAPER_SETTING, *(set(MIXERS) - {"summarymixing", "mhsa"} if name in ("update", "length") else ())}
    for contender in BENCHMARKS[name].contenders():
        if contender not in left_out:
            step = BENCHMARKS[name].build(contender, args.sizes[0], settings, "cpu")
            (step.warm_up or step.run)()
            step.run()
            assert step.other_bytes is None or (step.other_bytes() > 0) == contender.endswith("workers")


def measure(tmp_path: Path, *typed: str) -> tuple[list[dict], str]:
    """Rows of the result, and what was printed."""
    output = tmp_path / "result.json"
    printed = run("summarymixing", *typed, "--repeats", "2", "--json", output).stdout
    rows = json.loads(output.read_text())["rows"]
    for row in rows:
        assert row["failed"] is None, row
        assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0 and row["peak_bytes"] >= 0
    return rows, printed


def test_cell_as_typed(tmp_path):
    plot, names = tmp_path / "cell.png", ["summarymixing, padding mask", "literal cell"]
    rows, printed = measure(tmp_path, *arguments("cell", ""), "--contenders", *names, "--plot", str(plot))
    assert [row["contender"] for row in rows] == names
    assert plot.read_bytes().startswith(b"\x89PNG")
    for words in ("literal cell", "1 thread;", "torch 2", "median", "batch 2, dim 16, heads 2", "dtype float32"):
        assert words in printed


def test_update_in_the_papers_setting(tmp_path, tiny_recipe):
    (row,), _ = measure(tmp_path, *arguments("update", tiny_recipe), "--contenders", PAPER_SETTING)
    assert row["peak_bytes"] > 0


def test_the_recorded_command_names_no_output():
    typed = ["benchmark", "cell", "--json", "/home/me/x.json", "--batch", "1", "--plot", "y.png", "--json=z"]
    assert benchmark._command(typed) == "summarymixing benchmark cell --batch 1"


def test_an_earlier_result_stays_where_nothing_could_be_measured(tmp_path, capsys):
    (tmp_path / "a.json").write_text("earlier")
    typed = ["cell", "--heads", "3", "--dim", "16", "--lengths", "10", "--contenders", "summarymixing", "--force"]
    assert main(["benchmark", *typed, "--device", "cpu", "--json", str(tmp_path / "a.json")]) == 1
    assert "no contender could be measured" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == "earlier"


@pytest.mark.parametrize(
    "typed, message",
    [
        (["cell", "--contenders", "lstm"], "--contenders 'lstm': choose among 'summarymixing'"),
        (["cell", "--repeats", "0"], "--repeats 0: at least 1"),
        (["cell", "--batch", "0"], "--batch 0: at least 1"),
        (["data", "--workers", "-1"], "--workers -1: at least 0"),
        (["cell", "--limit-seconds", "-1"], "--limit-seconds -1: must be above 0"),
        (["update", "--config", "nowhere.yaml"], "nowhere.yaml: no such recipe; run this in a checkout"),
        (["cell", "--json", "/proc/x/y.json"], "cannot be written"),
    ],
)
def test_refusals(typed, message, capsys):
    assert main(["benchmark", *typed]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
