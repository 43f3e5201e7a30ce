"""`make mp3s-mini`: its commands fit the configurations, failures are told, the README shows the recorded results."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pipeline import ROOT

from summarymixing_fairseq.commands.main import build_parser
from summarymixing_fairseq.probing.heads import build_head
from summarymixing_fairseq.probing.model import SslProbeConfig, head_options
from summarymixing_fairseq.probing.mp3s.runs import parse_overrides
from summarymixing_fairseq.probing.mp3s.table import as_markdown
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.stages import run_stage

HERE = ROOT / "examples" / "mp3s"


@pytest.fixture(scope="module")
def mini(load_script):
    return load_script("mp3s/mini.py")


@pytest.fixture(scope="module")
def command(mini, tmp_path_factory):
    """The arguments of the stage of probes, as the command line reads them."""
    stages = dict(mini.stages(tmp_path_factory.mktemp("mini"), "synthesiser", 7, ["slurp:optimization.max_epoch=2"]))
    assert "optimization.max_update=7" in stages["pre-training"]
    return build_parser().parse_args(stages["probes"][1:])


def test_runs_every_task_for_a_trained_and_a_random_encoder(command):
    tasks = {name.partition("_probe")[0] for name in command.tasks.split(",")}
    assert tasks == {"librispeech", "commonvoice_cy", "commonvoice_eu", "slurp", "iemocap", "voxceleb1", "prompts_en"}
    assert command.random and command.no_paper and "not the benchmark's" in command.note
    assert [encoder.partition("=")[0] for encoder in command.encoder] == ["pretrained"]


def test_overrides_build_heads_in_every_configuration(command):
    overrides = parse_overrides(command.override)
    assert overrides[-1] == ("slurp", "optimization.max_epoch=2")
    for name in sorted(path.stem for path in HERE.glob("[!_]*.yaml")):
        task = name.partition("_probe")[0]
        # fairseq's own fields that the file does not list are in its schema, which is not here
        own = [f"++{one.lstrip('+')}" for of, one in overrides if of in ("", task, name)]
        with initialize_config_dir(str(HERE), version_base="1.1"):
            config = compose(name, overrides=["model.encoder_path=a.pt", "task.data=b", *own])
        fields = {key: value for key, value in config.model.items() if key != "_name"}
        head = build_head(config.model.head, 144, 18, **head_options(OmegaConf.structured(SslProbeConfig(**fields))))
        if name != "librispeech_probe2":  # left out of the mini
            assert sum(parameter.numel() for parameter in head.parameters()) < 2e6, name


def test_a_stage_that_fails(tmp_path):
    with pytest.raises(InputError, match="a stage failed with status 3"):
        run_stage("a stage", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
    with pytest.raises(InputError, match=r"no-such-tool is not installed: pip install -e '\.\[quickstart\]'"):
        run_stage("a stage", ["no-such-tool"], tmp_path)


def test_readme_shows_the_recorded_results(mini, tmp_path):
    table = json.loads((HERE / "results" / "mp3s.json").read_text())
    text = as_markdown(table)
    assert text.partition("# MP3S\n\n")[2] in (HERE / "README.md").read_text()
    assert mini.NOTE in text and table["command"] == "make mp3s-mini"
    # no path of the machine it ran on
    assert not [encoder["path"] for encoder in table["encoders"] if "/" in encoder["path"]]
    # rendering again changes nothing
    shutil.copytree(HERE, tmp_path / "mp3s")
    mini.render(tmp_path / "mp3s")
    assert (tmp_path / "mp3s" / "README.md").read_text() == (HERE / "README.md").read_text()


def test_publishing_leaves_paths_behind(mini, tmp_path):
    results, here = tmp_path / "results", tmp_path / "here"
    shutil.copytree(HERE / "results", results)
    here.mkdir()
    (here / "README.md").write_text(f"a\n{mini.BEGIN}\nformer table\n{mini.END}\nb\n")
    table = json.loads((results / "mp3s.json").read_text())
    table["command"] = f"summarymixing mp3s --results {Path.home()}"
    for encoder in table["encoders"]:
        encoder["path"] = str(Path.home() / "a" / "checkpoint_last.pt")
    (results / "mp3s.json").write_text(json.dumps(table))
    mini.publish(results, here)
    assert str(Path.home()) not in (here / "results" / "mp3s.json").read_text()
    readme = (here / "README.md").read_text()
    assert readme.startswith("a\n") and readme.endswith("b\n") and "former" not in readme
    assert {path.name for path in (here / "results").iterdir()} == {"mp3s.json", *mini.PLOTS}
