"""`summarymixing configs`: where the configurations of training lie."""

from __future__ import annotations

import argparse
from pathlib import Path

GROUPS = {
    "pretraining": "pre-training: tiny, quickstart, small, base, large; base with other mixers; BEST-RQ",
    "finetuning": "CTC fine-tuning",
    "mp3s": "the probes of MP3S",
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `configs` sub-command."""
    parser = subparsers.add_parser(
        "configs",
        help="folders of the configurations of training",
        description="Print the folder of a group of configurations, for fairseq-hydra-train --config-dir "
        '"$(summarymixing configs pretraining)" --config-name base task.data=... Without a group, list all of them.',
    )
    parser.add_argument("group", nargs="?", choices=GROUPS, help="; ".join(f"{k}: {v}" for k, v in GROUPS.items()))
    parser.set_defaults(run=run)


def config_dir(group: str) -> Path:
    """Folder of a group's YAML files: in the installed package, or in the checkout for an editable installation."""
    package = Path(__file__).resolve().parents[1]
    configs = package / "configs"
    return (configs if configs.is_dir() else package.parent / "examples") / group


def config_names(group: str) -> list[str]:
    """What ``--config-name`` takes in a group."""
    return sorted(path.stem for path in config_dir(group).glob("*.yaml") if not path.name.startswith("_"))


def run(args: argparse.Namespace) -> None:
    """Print a folder, or every group with its names."""
    if args.group:
        print(config_dir(args.group))
        return
    for group, description in GROUPS.items():
        print(f"{group} ({description})\n  {config_dir(group)}\n  {' '.join(config_names(group))}")
