"""Running the command lines that a user types, on a model tiny enough for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from zygote import COMMANDS, shared_zygote

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

TEXTS = (
    "press one to hear the menu",
    "please hold the line",
    "thank you for calling",
    "your call is important to us",
    "enter your number now",
    "the line is busy",
    "leave a message after the tone",
    "good bye and thank you",
)
VOICES = ("en-us", "en-us+f3")

# of the quickstart, by the folder of configurations; the contrastive one has more to go wrong
RECIPES = {"pretraining": "quickstart_contrastive", "finetuning": "quickstart"}
# of the first
TINY_MODEL = (
    "model.encoder_layers=2",
    "model.encoder_embed_dim=32",
    "model.encoder_ffn_embed_dim=64",
    "model.frontend_channels=32",
    "model.latent_vars=20",
    "model.final_dim=16",
    "model.num_negatives=10",
)


def run(*command: object, check: bool = True) -> subprocess.CompletedProcess:
    """Run a command from the repository's root, as the pages say; a Python command by fork."""
    name, *arguments = map(str, command)
    if name in (*COMMANDS, "python"):
        done = shared_zygote().complete([name, *arguments])
    else:
        done = subprocess.run([BIN / name, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    if check and done.returncode:
        raise AssertionError(f"{name} {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def train(config_dir: str, data: Path, save_dir: Path, max_update: int, *overrides: str, check: bool = True) -> str:
    """`fairseq-hydra-train` with a quickstart configuration; returns its log, with errors if it may fail."""
    done = run(
        "fairseq-hydra-train",
        "--config-dir",
        f"examples/{config_dir}",
        "--config-name",
        RECIPES[config_dir],
        f"task.data={data}",
        f"checkpoint.save_dir={save_dir}",
        f"optimization.max_update={max_update}",
        "checkpoint.save_interval_updates=1",
        "dataset.validate_interval_updates=1",
        "dataset.num_workers=0",
        "common.log_interval=1",
        "common.cpu=true",
        # a second a validation, which tests/training/test_quality.py spends
        *(["+task.quality=false"] if config_dir == "pretraining" else []),
        *overrides,
        check=check,
    )
    return done.stdout if check else done.stdout + done.stderr


def spelled(text: str) -> str:
    """A text as letters and word boundaries: the line of a label file."""
    return " ".join(text.replace(" ", "|")) + " |"


def records(log: str, kind: str) -> list[dict]:
    """What a training has logged of a kind: train_inner, valid."""
    return [json.loads(line[line.index("{") :]) for line in log.splitlines() if f"[{kind}]" in line]


@dataclass(frozen=True)
class Trained:
    """Files and logs of the pipeline."""

    data: Path
    audio: Path
    pretrained: Path
    fine_tuned: Path
    pretrain_log: str
    resume_log: str
    finetune_log: str
