"""`summarymixing study sizes`: the width found is the nearest, recipes have their size."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline import ROOT

from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.studies.sizes import count_parameters, matched_size

# hydra's, of the way that fairseq calls it
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RECIPES = ROOT / "examples" / "pretraining"
MATCHED = [path for path in sorted(RECIPES.glob("base_*.yaml")) if "study sizes" in path.read_text(encoding="utf-8")]


def test_the_width_found_is_the_nearest():
    heads = ["model.encoder_attention_heads=4", "model.encoder_layers=2"]
    found = matched_size(RECIPES / "quickstart.yaml", "mhsa", 1_000_000, heads)
    cfg = read_recipe(RECIPES / "quickstart.yaml", ["task.data=.", *found.overrides]).model
    counts = {}
    for width in range(found.width - 8, found.width + 9, cfg.summary_heads):
        cfg.encoder_embed_dim, cfg.encoder_ffn_embed_dim = width, 4 * width
        counts[width] = count_parameters(cfg)
    assert found.parameters == counts[found.width]
    assert min(counts, key=lambda width: abs(counts[width] - 1_000_000)) == found.width
    assert sorted(counts.values()) == list(counts.values()) and len(counts) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mixer", "mamba"], "model.mixer='mamba': choose one of"),
        (["--config", "nowhere"], "nowhere.yaml is not there"),
        (
            ["--set", "model.encoder_embed_dim=3"],
            "--set model.encoder_embed_dim=3: must be model.KEY=VALUE, and none of",
        ),
        (["--parameters", "5"], "--parameters 5: no width comes within 10% with mhsa"),
        (["--set", "model.encoder_layers=0"], "model.encoder_layers=0: must be at least 1"),
        (["--set", "model.dropout=2"], "model.dropout=2"),
        (["--set", "model.no_such_field=3"], "model.no_such_field: wav2vec2_summarymixing has no such field, nor one"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys):
    assert main(["study", "sizes", "--parameters", "155M", "--mixer", "mhsa", *options]) == 1
    assert message in (err := capsys.readouterr().err) and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("path", MATCHED, ids=lambda path: path.stem)
def test_recipes_have_the_size_of_base(path: Path):
    """Within 1 % of 155 M parameters: `summarymixing study sizes --parameters 155M`."""
    cfg = read_recipe(path, ["task.data=."]).model
    assert cfg.mixer == path.stem.removeprefix("base_").removesuffix("_matched")
    assert count_parameters(cfg) == pytest.approx(155e6, rel=0.01)
