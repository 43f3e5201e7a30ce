"""Every override that the READMEs name composes, with its plus or without it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from fairseq.dataclass.initialize import hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from pipeline import ROOT

READMES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*/README.md"))]
# a configuration of each kind, for overrides that are named in the text
OF_ANY_KIND = (("pretraining", "base"), ("finetuning", "ctc_100h"), ("mp3s", "slurp_probe1"))
# fields that a configuration leaves to the command line
MISSING = {
    "pretraining": ["task.data"],
    "finetuning": ["task.data", "model.w2v_path"],
    "mp3s": ["task.data", "model.encoder_path"],
}
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_GROUPS = "model|task|criterion|optimization|checkpoint|dataset|common|optimizer|lr_scheduler|distributed_training"


def commands(text: str) -> list[list[str]]:
    """Arguments of every ``fairseq-hydra-train`` in the text's blocks."""
    found = []
    for block in _BLOCK.findall(text.replace("$(which fairseq-hydra-train)", "fairseq-hydra-train")):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r'"?\$\(summarymixing configs (\w+)\)"?', r"examples/\1", line)
            words = shlex.split(line, comments=True) if "fairseq-hydra-train" in line else []
            if "fairseq-hydra-train" in words:
                found.append(words[words.index("fairseq-hydra-train") + 1 :])
    return found


def in_text(text: str) -> list[list[str]]:
    """Overrides in backquotes, one list for each pair of them."""
    spans = re.findall(rf"`(\+?(?:{_GROUPS})\.[\w.]+=[^`]+)`", _BLOCK.sub("", text))
    return [span.replace("/G]", "]").split() for span in spans]


def composes(folder: str, name: str, overrides: list[str]) -> str:
    """What hydra says against it, or nothing."""
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    missing = [f"{field}=x" for field in MISSING[folder] if field not in given]
    hydra_init(name)
    try:
        with initialize_config_dir(str(ROOT / "examples" / folder), version_base="1.1"):
            compose(name, overrides=[*missing, *overrides])
        return ""
    except Exception as error:  # hydra has many kinds
        return str(error)
    finally:
        del ConfigStore.instance().repo[f"{name}.yaml"]


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


COMMANDS = [(path, words) for path in READMES for words in commands(path.read_text(encoding="utf-8"))]
IN_TEXT = [(path, overrides) for path in READMES for overrides in in_text(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("path", "words"), COMMANDS)
def test_commands_in_blocks(path, words, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    folder, name = Path(option(words, "--config-dir")).name, option(words, "--config-name")
    overrides = [word.replace("file://", f"file://{ROOT}/") for word in words if re.match(r"[+\w.]+=", word)]
    assert not composes(folder, name, overrides), path


@pytest.mark.parametrize(("path", "overrides"), IN_TEXT)
def test_overrides_in_the_text(path, overrides):
    """They compose with a configuration of one kind at least."""
    said = [composes(folder, name, overrides) for folder, name in OF_ANY_KIND]
    assert "" in said, (path, said)


def test_there_are_some():
    assert len(COMMANDS) > 8 and len(IN_TEXT) > 10
    assert composes("finetuning", "ctc_100h", ["criterion.post_process=sentencepiece"])
    assert composes("finetuning", "ctc_100h", ["+checkpoint.patience=10"])
