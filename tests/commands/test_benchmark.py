"""`summarymixing benchmark`, every benchmark at a size that takes no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from summarymixing_fairseq.benchmarks.update import PAPER_SETTING, STOCK
from summarymixing_fairseq.commands import benchmark
from summarymixing_fairseq.commands.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny_recipe(tmp_path_factory) -> str:
    recipe = yaml.safe_load((ROOT / "examples" / "pretraining" / "base.yaml").read_text())
    sizes = {"encoder_layers": 1, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 32, "frontend_channels": 16}
    recipe["model"].update(sizes, final_dim=16, latent_vars=8)
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def measure(tmp_path: Path, *arguments: str) -> dict:
    output = tmp_path / "result.json"
    command = ["benchmark", *arguments, "--threads", "1", "--device", "cpu", "--json", str(output)]
    assert main(command) == 0
    return json.loads(output.read_text())


def check(result: dict, contenders: list[str], repeats: int) -> None:
    assert [row["contender"] for row in result["rows"]] == contenders
    for row in result["rows"]:
        assert row["failed"] is None, row
        assert len(row["seconds"]) == repeats
        assert min(row["seconds"]) > 0


def test_cell(tmp_path, capsys):
    plot = tmp_path / "cell.png"
    sizes = ["--lengths", "30", "--dim", "16", "--heads", "2", "--batch", "2"]
    names = ["summarymixing, padding mask", "literal cell"]
    result = measure(tmp_path, "cell", *sizes, "--repeats", "2", "--contenders", *names, "--plot", str(plot))
    check(result, names, 2)
    assert plot.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for words in ("literal cell", "1 threads", "torch 2", "median", "dtype float32"):
        assert words in printed


def test_the_recorded_command_names_no_output():
    typed = ["benchmark", "cell", "--json", "/home/me/x.json", "--batch", "1", "--plot", "y.png", "--json=z"]
    assert benchmark._command(typed) == "summarymixing benchmark cell --batch 1"


def test_objective(tmp_path):
    result = measure(tmp_path, "objective", "--masked", "40", "--batch", "2", "--negatives", "9", "--repeats", "1")
    check(result, ["ours", "fairseq", "fairseq, freed memory kept"], 1)


def test_filterbank(tmp_path):
    check(
        measure(tmp_path, "filterbank", "--seconds", "1", "--repeats", "1"),
        ["ours", "kaldi-native-fbank", "librosa"],
        1,
    )


def test_data(tmp_path):
    result = measure(tmp_path, "data", "--clips", "6", "--workers", "1", "--repeats", "1")
    check(result, ["speech_pretraining", "audio_pretraining"], 1)


def test_manifest(tmp_path):
    result = measure(tmp_path, "manifest", "--rows", "3000", "--workers", "2", "--repeats", "1")
    names = ["speech_pretraining", "audio_pretraining"]
    check(result, [name + workers for workers in ("", ", workers") for name in names], 1)
    peaks = [row["peak_bytes"] for row in result["rows"]]
    assert peaks[2] > peaks[0] and peaks[3] > peaks[1]  # the workers' own memory is in


def test_update(tmp_path, tiny_recipe):
    names = ["summarymixing", PAPER_SETTING, STOCK]
    arguments = ["--config", tiny_recipe, "--seconds", "1", "--clips", "2", "--repeats", "1", "--contenders", *names]
    check(measure(tmp_path, "update", *arguments), names, 1)


def test_length(tmp_path, tiny_recipe):
    result = measure(tmp_path, "length", "--config", tiny_recipe, "--seconds", "2", "3", "--repeats", "1")
    check(result, ["summarymixing", "mhsa"] * 2, 1)
    assert all(row["peak_bytes"] > 0 for row in result["rows"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["cell", "--contenders", "lstm"], "--contenders 'lstm': choose among 'summarymixing'"),
        (["cell", "--repeats", "0"], "--repeats 0: at least 1"),
        (["update", "--config", "nowhere.yaml"], "nowhere.yaml: no such recipe; run this in a checkout"),
        (["cell", "--json", "/proc/x/y.json"], "cannot be written"),
    ],
)
def test_refusals(arguments, message, capsys):
    assert main(["benchmark", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
