"""`summarymixing options`: the mixers and objectives there are, and the options of each, as Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `options` sub-command."""
    parser = subparsers.add_parser(
        "options",
        help="mixers and objectives, with the options of each",
        description="Print a Markdown table of the options of every mixer and objective. An option is given as "
        "model.mixer_options.NAME (with model.mixers: model.mixer_options.MIXER.NAME) or model.objective_options.NAME, "
        "or by the field of the model that stands for it.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    print(as_markdown())


def as_markdown() -> str:
    """One row an option: mixer or objective, its names, its default and what it does."""
    from ..models.config import Wav2Vec2SummaryMixingConfig
    from ..models.objectives import OPTIONS as OBJECTIVES
    from ..modules.mixing import OPTIONS as MIXERS

    model = Wav2Vec2SummaryMixingConfig()
    lines = ["| `model.` | option | default | meaning |", "|---|---|---|---|"]
    plugged_in: dict[str, Mapping[str, Any]] = {"mixer": MIXERS, "objective": OBJECTIVES}
    for kind, classes in plugged_in.items():
        for name, options in sorted(classes.items()):
            lines += [_row(kind, name, field, model) for field in fields(options)]
    return "\n".join(lines)


def _row(kind: str, name: str, field: Any, model: Any) -> str:
    model_field, choices = field.metadata["model_field"], field.metadata["choices"]
    names = f"`{kind}_options.{field.name}`" + (f" or `{model_field}`" if model_field else "")
    value = getattr(model, model_field) if model_field else field.default
    default = str(list(value) if isinstance(value, tuple) else value)
    if isinstance(value, bool):
        default = default.lower()
    meaning = field.metadata["help"]
    if choices and not all(choice in meaning for choice in choices):
        meaning += f": {', '.join(choices)}"
    return f"| `{kind}={name}` | {names} | {default} | {meaning} |"
