"""`-m model.mixer=summarymixing,mhsa` as it stands, and fields and recipes that there are not."""

from __future__ import annotations

import pytest
from pipeline import ROOT, run
from training.conftest import arguments, load, manifests  # noqa: F401 (fixtures)

from hydra_plugins.summarymixing import _resolve, _swept


def test_each_job_has_its_folder(arguments, tmp_path):  # noqa: F811
    given = [one for one in arguments(tmp_path, 1) if "save_dir" not in one]
    folder = f"checkpoint.save_dir='{tmp_path}/run${{summarymixing:sweep}}'"
    run("fairseq-hydra-train", "-m", *given, folder, "model.mixer=summarymixing,none")
    for mixer in ("summarymixing", "none"):
        state = load(tmp_path / "run" / f"model.mixer={mixer}" / "checkpoint_last.pt")
        assert state["cfg"]["model"]["mixer"] == mixer
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "model.mixer=none",
        "model.mixer=summarymixing",
    ]


def test_which_fields_a_sweep_gives_several_values():
    given = ["-m", "--config-name", "base", "--config-dir=x,y", "task.data=a", "+model.targets=latents,detached"]
    given += ["optimization.lr=[0.1],[0.2]", "model.a=[1,2]", "model.b=range(1,4)", "model.c='x,y'", "broken=[,"]
    assert _swept(given) == ["model.targets", "optimization.lr", "model.b"]


def test_outside_of_a_sweep_there_is_no_folder():
    assert _resolve("sweep") == ""
    with pytest.raises(ValueError, match="only user_dir and sweep are known"):
        _resolve("sweeep")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.mixr=mhsa", "Could not override 'model.mixr': did you mean model.mixer?"),
        ("model.recompute=cheap", "A field that the configuration does not list needs a plus: +model.recompute=..."),
        ("optimisation.lr=[1]", "Could not override 'optimisation.lr': did you mean optimization.lr?"),
        (
            "+model.recomput=cheap",
            "model.recomput: wav2vec2_summarymixing has no such field; did you mean model.recompute?",
        ),
        ("+task.qality=false", "task.qality: speech_pretraining has no such field; did you mean task.quality?"),
    ],
)
def test_an_unknown_field(override, message, arguments, tmp_path):  # noqa: F811
    done = run("fairseq-hydra-train", *arguments(tmp_path / "run", 1), override, check=False)
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert message in done.stderr.splitlines(), done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--config-name", "quikstart"],
            "RECIPES/quikstart.yaml is not there, or has no model; did you mean quickstart?",
        ),
        (["--config-name", "zzz", "task.data=x"], "RECIPES/zzz.yaml is not there, or has no model"),
        ([], "give a recipe: --config-dir FOLDER --config-name NAME"),
    ],
)
def test_an_unknown_recipe(given, message, tmp_path):
    recipes = str(ROOT / "examples" / "pretraining")
    done = run("fairseq-hydra-train", "--config-dir", recipes, *given, f"hydra.run.dir={tmp_path}", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"fairseq-hydra-train: {message.replace('RECIPES', recipes)}"
    assert "Traceback" not in done.stderr
