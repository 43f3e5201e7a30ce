"""Checkpoints out of folders for transformers: as `summarymixing export --to hf` writes them, or a training there.

The code beside the weights is not looked at.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..system.errors import InputError
from ..system.files import sha256_of
from .contents import section, sections, without_optimizer
from .hub import on_disk

MODEL_TYPE = "summarymixing"
HEAD, BODY = "lm_head.", "summarymixing."
# fairseq's names of the same weights in a fine-tuned model
OURS_HEAD, OURS_BODY = "w2v_encoder.proj.", "w2v_encoder.w2v_model."
# fairseq's first four symbols; the first is CTC's blank
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
# score of a symbol that fairseq has and the folder does not
NEVER = -1e4
# JSON takes some twenty times its size in memory.
_MAX_JSON_BYTES = 2**24


def read_hf_folder(path: Path) -> dict[str, Any]:
    """Weights, configuration and symbols in the form of a checkpoint of fairseq's without its optimizer.

    Raises:
        InputError: for a folder of another model, or one that is not whole.
    """
    config = _json(path / "config.json")
    if config.get("model_type") != MODEL_TYPE:
        raise InputError(
            f"{path} is not a folder that `summarymixing export --to hf` or a training from it has written"
        )
    stored = section(config, "checkpoint")
    cfg, weights = section(stored, "cfg"), _weights(path)
    num_updates = stored["num_updates"] if type(stored.get("num_updates")) is int else 0
    if not any(name.startswith(HEAD) for name in weights):
        if any(name.startswith(BODY) for name in weights):
            raise InputError(f"{path} holds a model for CTC without its output {HEAD}weight")
        # an encoder, of a fine-tuned model too
        model = sections(cfg)[0]
        of_encoder = model["w2v_args"] if isinstance(model.get("w2v_args"), dict) else cfg
        return without_optimizer(of_encoder, weights, num_updates, None)
    if not isinstance(section(cfg, "model").get("w2v_args"), dict):  # trained by transformers from a pre-trained one
        task = {"_name": "speech_finetuning", "labels": "ltr", "normalize": config.get("normalize") is True}
        given = {"w2v_path": "", "data": "", "normalize": task["normalize"], "ddp_backend": "legacy_ddp"}
        model = {"_name": "wav2vec_ctc", **given, "w2v_args": cfg}
        cfg = {"model": model, "task": task, "criterion": {"_name": "ctc"}}
    vocabulary = _json(path / "vocab.json")
    symbols, rows = _in_fairseqs_order(vocabulary, config.get("pad_token_id"), path)
    try:
        weights = _as_fairseqs(weights, rows)
    except (IndexError, KeyError, RuntimeError):
        raise InputError(
            f"{path}: its vocabulary and its output {HEAD}weight, {HEAD}bias do not fit each other"
        ) from None
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return without_optimizer(cfg, weights, num_updates, dictionary)


def content_sha256(path: Path) -> str:
    """SHA-256 of a checkpoint: of its file, or of a folder's configuration, symbols and weights.

    Raises:
        InputError: if it cannot be read.
    """
    path = on_disk(path)
    if not path.is_dir():
        return sha256_of(path)
    digest = hashlib.sha256()
    for file in (path / "config.json", path / "vocab.json", *_weight_files(path)):
        if file.exists():
            _check_regular(file)
            digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _weight_files(path: Path) -> list[Path]:
    """As transformers finds them: one file, or else its parts."""
    whole = path / "model.safetensors"
    return [whole] if whole.exists() else sorted(path.glob("model-*-of-*.safetensors"))


def _check_regular(path: Path) -> None:
    """Links are followed: a hub's cache is made of them."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file but a folder, a pipe or a device")


def _json(path: Path) -> dict[str, Any]:
    _check_regular(path)
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InputError(f"{path} has more than {_MAX_JSON_BYTES:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except InputError:
        raise
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not JSON of names and values")
    return value


def _weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    try:
        for part in _weight_files(path):
            _check_regular(part)
            weights.update(load_file(part))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: its weights cannot be read: {error}") from None
    if not weights:
        raise InputError(f"{path} holds no model.safetensors")
    return weights


def _in_fairseqs_order(vocabulary: dict[str, Any], blank: Any, path: Path) -> tuple[list[str], list[int | None]]:
    """Symbols after the special ones, and for each of fairseq's outputs the row that it has in the folder's model."""
    by_row = {row: symbol for symbol, row in vocabulary.items()}
    if type(blank) is not int or blank not in by_row or any(type(row) is not int or row < 0 for row in by_row):
        raise InputError(f"{path}: vocab.json and pad_token_id of config.json do not name the symbols of a CTC model")
    special: list[int | None] = [blank]
    for names in (("<s>", "[BOS]"), ("</s>", "[EOS]"), ("<unk>", "[UNK]")):
        special.append(next((vocabulary[name] for name in names if vocabulary.get(name, blank) != blank), None))
    others = [row for row in sorted(by_row) if row not in special]
    return [by_row[row] for row in others], [*special, *others]


def _as_fairseqs(weights: dict[str, Tensor], rows: list[int | None]) -> dict[str, Tensor]:
    weight, bias = weights[f"{HEAD}weight"], weights[f"{HEAD}bias"]
    highest = max(row for row in rows if row is not None)
    if weight.dim() != 2 or bias.shape != weight.shape[:1] or highest >= len(weight):
        raise IndexError  # before anything is allocated
    to_weight, to_bias = torch.zeros(len(rows), weight.size(1)), torch.full((len(rows),), NEVER)
    for at, row in enumerate(rows):
        if row is not None:
            to_weight[at], to_bias[at] = weight[row], bias[row]
    body = {OURS_BODY + name[len(BODY) :]: value for name, value in weights.items() if name.startswith(BODY)}
    return {**body, f"{OURS_HEAD}weight": to_weight, f"{OURS_HEAD}bias": to_bias}
