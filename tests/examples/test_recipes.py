"""The recipes of pre-training and fine-tuning: what each composes to, and where they find the package."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf
from pipeline import ROOT

import summarymixing_fairseq
from summarymixing_fairseq.models.config import Wav2Vec2SummaryMixingConfig

# hydra's, of the way that fairseq calls it
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXAMPLES = ROOT / "examples"
RECIPES = sorted(path for group in ("pretraining", "finetuning") for path in (EXAMPLES / group).glob("*.yaml"))
# folder, name, the recipe that it is made from, and all that differs
VARIANTS = [
    ("pretraining", "base_mhsa", "base", {"model.mixer": "mhsa"}),
    ("pretraining", "small", "base", {"model.encoder_layers": 6}),
    ("pretraining", "small_mhsa", "base", {"model.encoder_layers": 6, "model.mixer": "mhsa"}),
    ("pretraining", "large", "base", {"model.encoder_layers": 24}),
    ("pretraining", "large_mhsa", "base", {"model.encoder_layers": 24, "model.mixer": "mhsa"}),
    ("pretraining", "small_bestrq", "base_bestrq", {"model.encoder_layers": 6}),
    (
        "pretraining",
        "tiny",
        "quickstart",
        {
            "model.encoder_layers": 2,
            "dataset.max_tokens": 800000,
            "dataset.max_tokens_valid": 800000,  # follows it
            "dataset.validate_interval": 1000000,
            "dataset.validate_interval_updates": 50,
            "optimization.max_update": 150,
            "lr_scheduler.warmup_updates": 20,
            "checkpoint.save_interval_updates": 50,
            "common.log_interval": 10,
            "common.log_format": "simple",
        },
    ),
    (
        "finetuning",
        "tiny",
        "quickstart",
        {
            "dataset.max_tokens": 800000,
            "dataset.max_tokens_valid": 800000,
            "optimization.max_update": 150,
            "common.log_interval": 10,
        }
        | {"common.log_format": "simple", "checkpoint.save_dir": "checkpoints/tiny_ctc"},
    ),
    (
        "finetuning",
        "ctc_10h",
        "ctc_100h",
        {"optimization.max_update": 20000, "optimization.lr": [5e-5], "model.freeze_finetune_updates": 10000},
    ),
    (
        "finetuning",
        "ctc_960h",
        "ctc_100h",
        {
            "optimization.max_update": 320000,
            "optimization.lr": [1e-4],
            "model.mask_prob": 0.5,
            "model.mask_channel_prob": 0.1,
        },
    ),
]


def settings(cfg: DictConfig) -> dict:
    """All but hydra's own section, resolved."""
    return OmegaConf.to_container(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), resolve=True)


@pytest.mark.parametrize(("group", "name", "made_from", "differences"), VARIANTS, ids=[row[1] for row in VARIANTS])
def test_a_variant_is_its_recipe_but_for_what_it_says(
    composed: Callable[..., DictConfig], group: str, name: str, made_from: str, differences: dict
) -> None:
    overrides = ["model.w2v_path=a.pt"] if group == "finetuning" else []
    variant, recipe = (composed(each, *overrides, folder=EXAMPLES / group) for each in (name, made_from))
    assert (variant.hydra.run.dir, variant.hydra.output_subdir) == (".", None)
    expected = OmegaConf.create(settings(recipe))
    for key, value in {"checkpoint.save_dir": f"checkpoints/{name}", **differences}.items():
        assert OmegaConf.select(expected, key) != value
        OmegaConf.update(expected, key, value)
    assert settings(variant) == expected


def test_the_batch_of_the_page_on_gpus(composed: Callable[..., DictConfig]) -> None:
    """What it says to add with another number of GPUs keeps the audio of an update."""

    def samples(name: str, gpus: int, update_freq: int, *overrides: str) -> int:
        return gpus * update_freq * composed(name, *overrides).dataset.max_tokens

    page = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (?:`optimization\.update_freq=\[(\d+)\]`|nothing) \|", page, flags=re.MULTILINE)
    assert len(rows) == 4
    own = composed("base").optimization.update_freq[0]
    assert {samples("base", int(gpus), int(freq or own)) for gpus, freq in rows} == {samples("base", 4, own)}
    assert "G GPUs need `optimization.update_freq=[8/G]`" in page and "`[20/G]`" in page
    assert composed("ctc_100h", folder=EXAMPLES / "finetuning").optimization.update_freq == [8 // 2]
    two_hours = samples("base_bestrq", 4, 20 // 4)
    assert composed("base_bestrq").optimization.update_freq == [20 // 4]
    assert "dataset.max_tokens=7200000` on 8 GPUs, `[1]` with the same on 16" in page
    assert {samples("base_bestrq", n, 16 // n, "dataset.max_tokens=7200000") for n in (8, 16)} == {two_hours}
    start, end, decay = map(float, re.search(r"model\.latent_temp=\[([\d.]+),([\d.]+),([\d.]+)\]", page).groups())
    assert max(end, start * decay**100_000) == pytest.approx(0.45, abs=0.005)
    temperature = composed("base").model.latent_temp
    assert max(temperature[1], temperature[0] * temperature[2] ** 300_000) == pytest.approx(0.45, abs=0.005)


PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## The authors' run and wav2vec 2.0's choice") :].split("\n\n")[2]
# field, value of the recipes, the other one
AUTHORS = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \|", TABLE, flags=re.MULTILINE)


def test_base_is_the_authors_run(composed: Callable[..., DictConfig]) -> None:
    """It has the table's values, and takes the others, to which the fields default. Its variants do as well.

    A run that was begun with the others goes on by the changelog's overrides. Fine-tuning normalises alike.
    """
    assert len(AUTHORS) == 8
    overrides = [f"{field}={otherwise}".replace(" ", "") for field, _, otherwise in AUTHORS]
    base, other = composed("base"), composed("base", *overrides)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for (field, *values), override in zip(AUTHORS, overrides):
        here, otherwise = (OmegaConf.create(f"value: {value}").value for value in values)
        assert OmegaConf.select(base, field) == here and OmegaConf.select(other, field) == otherwise, field
        group, _, name = field.partition(".")
        assert group != "model" or getattr(Wav2Vec2SummaryMixingConfig, name) == otherwise, field
        assert override in changelog
    tuned = yaml.safe_load((EXAMPLES / "finetuning" / "ctc_100h.yaml").read_text(encoding="utf-8"))
    assert tuned["task"]["normalize"] == base.task.normalize


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_with_defaults_has_nothing_else(path: Path) -> None:
    """fairseq's schema is merged with this file first: any other value here would lose against the defaults."""
    content = yaml.safe_load(path.read_text()) or {}
    assert "defaults" not in content or list(content) == ["defaults"]
    # hydra 1.0 (Python 3.9 and 3.10) does not read the lists of files that a list names
    named = [path.parent / f"{name}.yaml" for name in content.get("defaults", []) if name != "_self_"]
    assert not any("defaults" in (yaml.safe_load(file.read_text()) or {}) for file in named)


@pytest.mark.parametrize("name", ["base", "small"])
def test_user_dir_is_the_installed_package(
    composed: Callable[..., DictConfig], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert composed(name).common.user_dir == str(Path(summarymixing_fairseq.__file__).parent)


def test_hydras_plugin_leaves_the_package_to_fairseq() -> None:
    """fairseq passes over a user-dir whose package is imported already."""
    code = "import sys, hydra_plugins.summarymixing; sys.exit('summarymixing_fairseq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
