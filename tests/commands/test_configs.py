"""`summarymixing configs`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT

from summarymixing_fairseq.commands.configs import GROUPS, config_names
from summarymixing_fairseq.commands.main import main


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


def test_it_imports_neither_torch_nor_fairseq() -> None:
    code = "from summarymixing_fairseq.commands.main import main; import sys; main(['configs'])\n"
    code += "sys.exit(bool({'torch', 'fairseq', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
