"""A configuration as it may be given to others: without the names of this machine's files and folders."""

from __future__ import annotations

import re
from typing import Any

# Outside of the model's part texts are kept that name a component (`_name`) or say how labels are spelled, by section.
# All others there say where something lies, or how one run was made.
KEPT_TEXTS = {"task": "labels", "criterion": "post_process"}
# In the model's part a text is emptied where its field's name ends in a word for a place, or where it is a path.
_PLACE = re.compile(r"(^|_)(data|dir|logdir|path|file|filename|folder|root|url|script|project)s?$")


def without_places(config: Any) -> dict[str, Any]:
    """A configuration without texts that may name files and folders; numbers, flags and the model's choices stay.

    Args:
        config: plain containers, today's sections or flat as until 2020; the configuration of a pre-trained model
            inside a fine-tuned one's (``w2v_args``) is treated alike.
    """
    if not isinstance(config, dict):
        return {}
    if not isinstance(config.get("model"), dict):
        return {key: _of_model(key, value) for key, value in config.items()}
    return {
        key: _of_model(key, value) if key == "model" else _of_other(key, value)
        for key, value in config.items()
        if isinstance(value, dict)
    }


def _of_other(name: str, section: dict[str, Any]) -> dict[str, Any]:
    """Of a section other than the model's: numbers, flags, and ``KEPT_TEXTS``."""
    kept: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, (list, tuple)):
            kept[key] = [entry for entry in value if isinstance(entry, (int, float))]
        elif isinstance(value, str):
            if key in ("_name", KEPT_TEXTS.get(name)) and not _is_path(value):
                kept[key] = value
        elif not isinstance(value, dict):
            kept[key] = value
    return kept


def _of_model(key: str, value: Any) -> Any:
    if key == "w2v_args" and isinstance(value, dict):
        return without_places(value)
    if isinstance(value, dict):
        return {name: _of_model(name, entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_of_model(key, entry) for entry in value]
    if isinstance(value, str) and (_PLACE.search(key) or _is_path(value)):
        return ""
    return value


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.startswith("~")
