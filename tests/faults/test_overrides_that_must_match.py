"""Overrides compared by size alone: what is given beside a checkpoint must be what the checkpoint was trained with."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import save_recogniser

from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def checkpoint(tmp_path, tiny_model):
    """A recogniser of A, B and the word boundary."""
    return save_recogniser(tmp_path / "tuned.pt", tiny_model(), "AB|", "A", {"labels": "ltr"}, {})


@pytest.mark.parametrize("lines", [["| 1", "A 1", "B 1"], ["A 1", "C 1", "| 1"]])
@pytest.mark.parametrize("exported", [False, True])
def test_a_dictionary_of_the_same_size(checkpoint, tmp_path, lines, exported):
    path = checkpoint
    if exported:
        path = tmp_path / "tuned.safetensors"
        assert main(["export", str(checkpoint), str(path)]) == 0
    given = tmp_path / "dict.ltr.txt"
    given.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(
        InputError, match=r"dict\.ltr\.txt differs from the dictionary in .*: symbol \d is '.', not '.'"
    ):
        load_fine_tuned(path, given)


def test_counts_may_differ_and_a_checkpoint_may_have_none(checkpoint, tmp_path):
    given = tmp_path / "dict.ltr.txt"
    given.write_text("A 1\nB 22\n| 333\n")
    assert load_fine_tuned(checkpoint, given).dictionary.symbols[4:] == ["A", "B", "|"]
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "task_state": {}}, checkpoint)
    assert load_fine_tuned(checkpoint, given).dictionary.symbols[4:] == ["A", "B", "|"]
