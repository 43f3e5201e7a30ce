"""Folders for transformers as input that may come from anyone. transformers is not needed here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.hf_folder import HEAD, content_sha256
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.export.formats.hf import HuggingFace
from summarymixing_fairseq.export.source import load_source
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def folder(toned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recogniser's."""
    monkeypatch.setattr(HuggingFace, "packages", ())
    HuggingFace(load_source(toned), tmp_path / "hf").write()
    return tmp_path / "hf"


def test_it_is_read_as_the_checkpoint(folder, toned):
    ours, found = load_fine_tuned(toned), load_fine_tuned(folder)
    assert found.dictionary.symbols == ours.dictionary.symbols
    for name, weight in ours.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name


def change(folder: Path, **entries: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), **{HEAD + name: entry for name, entry in entries.items()}}, path, {"format": "pt"})


def test_sizes_are_compared_before_memory_is_taken(folder):
    vocabulary = {f"s{row}": row for row in range(100_000)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    change(folder, weight=torch.zeros(1, 100_000), bias=torch.zeros(1))  # 40 GB, if taken at their word
    with pytest.raises(InputError, match="do not fit each other"):
        load_safely(folder)


def test_json_that_is_too_long_and_pipes(folder):
    os.truncate(folder / "vocab.json", 2**24 + 1)
    with pytest.raises(InputError, match="more than 16,777,216 bytes"):
        load_safely(folder)
    for name in ("vocab.json", "model.safetensors"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(InputError, match=f"{name} is no file but"):
            load_safely(folder)


def test_a_file_beside_the_weights_is_no_part_of_them(folder):
    wanted = load_safely(folder)["model"]
    save_file(
        {name: weight + 1 for name, weight in load_file(folder / "model.safetensors").items()},
        folder / "model_old.safetensors",
    )
    assert all(torch.equal(weight, wanted[name]) for name, weight in load_safely(folder)["model"].items())


def test_the_sum_is_of_what_is_read(folder):
    first = content_sha256(folder)
    (folder / "README.md").write_text("other words")
    assert content_sha256(folder) == first
    change(folder, bias=load_file(folder / "model.safetensors")[f"{HEAD}bias"] + 1)
    assert content_sha256(folder) != first
