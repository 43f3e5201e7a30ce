"""The console script itself, `summarymixing configs`, and what a plain import does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT, run

from summarymixing_fairseq.commands.configs import GROUPS, config_names
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.version import __version__


def test_version_and_module_entry() -> None:
    assert run("summarymixing", "--version").stdout.strip() == __version__
    assert run("python", "-m", "summarymixing_fairseq", "--version").stdout.strip() == __version__


def test_a_plain_import_registers_nothing_and_changes_nothing() -> None:
    """It imports neither torch nor fairseq, and leaves fairseq as it was; `register` does the rest."""
    code = """if True:
        import sys
        import summarymixing_fairseq
        heavy = {"torch", "fairseq", "numpy", "omegaconf", "hydra"} & set(sys.modules)
        assert not heavy, heavy
        from fairseq import checkpoint_utils, models, tasks
        from fairseq.trainer import Trainer
        names = {**vars(checkpoint_utils), **vars(Trainer)}
        ours = {name for name, value in names.items() if "summarymixing" in str(getattr(value, "__module__", ""))}
        assert not ours, ours
        assert "wav2vec2_summarymixing" not in models.MODEL_REGISTRY
        summarymixing_fairseq.register()
        assert "wav2vec2_summarymixing" in models.MODEL_REGISTRY and "speech_pretraining" in tasks.TASK_REGISTRY
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_a_folder_of_configurations(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", group]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == ROOT / "examples" / group
    assert config_names(group) == sorted(path.stem for path in folder.glob("[!_]*.yaml"))


def test_all_groups_and_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    listed = capsys.readouterr().out.split()
    for group in GROUPS:
        assert {group, str(ROOT / "examples" / group), *config_names(group)} <= set(listed)
    assert "_self_" not in listed
