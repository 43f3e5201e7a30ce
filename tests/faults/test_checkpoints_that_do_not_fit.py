"""A run that takes up a checkpoint of other symbols, another model or another optimizer ends in one line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from encoder_checkpoints import OURS, configuration, letters, save
from fairseq import checkpoint_utils
from omegaconf import OmegaConf
from trainers import save as save_run
from trainers import trainer_of

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches import resuming


@pytest.fixture
def take_up(tmp_path, tiny_model, monkeypatch):
    """``take_up(task, restore_file, **entries)``: a trainer of ``task`` reads a checkpoint with these entries."""
    monkeypatch.setattr(
        resuming, "_load_into_trainer", lambda _, name, __: checkpoint_utils.load_checkpoint_to_cpu(name)
    )
    model = tiny_model()
    config = OmegaConf.to_container(OmegaConf.create(configuration(model, OURS)))

    def read(task, restore_file="checkpoint_last.pt", **entries):
        entries = {"last_optimizer_state": {"step": 1}, **entries}
        path = save(tmp_path / "checkpoint_last.pt", config, model.state_dict(), **entries)
        checkpoint = {"reset_optimizer": False, "reset_lr_scheduler": False, "save_dir": str(tmp_path)}
        groups = {**config, "checkpoint": SimpleNamespace(restore_file=restore_file, **checkpoint)}
        groups["ema"] = SimpleNamespace(store_ema=False)
        return resuming.load_into_trainer(SimpleNamespace(cfg=Groups(groups), task=task), str(path))

    return read


class Groups(dict):
    """A plain configuration whose groups are attributes too."""

    __getattr__ = dict.__getitem__


def labelled(symbols: str) -> SimpleNamespace:
    return SimpleNamespace(target_dictionary=letters(symbols), cfg=SimpleNamespace(labels="ltr"))


# checkpoint.finetune_from_model is read under its own name too
@pytest.mark.parametrize("restore_file", ["checkpoint_last.pt", "other.pt"])
def test_a_dictionary_with_other_symbols(restore_file, take_up):
    entries = {"task_state": {"target_dictionary": letters("AB")}}
    assert take_up(labelled("AB"), restore_file, **entries)["model"]
    assert take_up(labelled("BA"), restore_file)["model"]  # of a pre-trained one
    for symbols, said in (("BA", "symbol 4 is 'B', not 'A'"), ("ABC", "it has 7 symbols, not 6")):
        with pytest.raises(InputError, match=rf"dict\.ltr\.txt is not that of .*checkpoint_last\.pt: {said}; go on"):
            take_up(labelled(symbols), restore_file, **entries)


def test_another_pre_trained_model(take_up):
    task = SimpleNamespace(pretrained="a")
    for saved in ({"pretrained": "a"}, {"pretrained": ""}, {}):
        at = {"train_iterator": {"epoch": 1}, "SimpleNamespace": saved}
        assert take_up(task, extra_state=at)["model"]
    at = {"train_iterator": {"epoch": 1}, "SimpleNamespace": {"pretrained": "b"}}
    with pytest.raises(InputError, match=r"from another pre-trained model than model\.w2v_path: choose another"):
        take_up(task, extra_state=at)
    assert take_up(task, "named.pt", extra_state=at)["model"]


def test_another_optimizer_and_other_weights(tmp_path):
    """fairseq: an assertion that names an option of its old command line, and two tracebacks."""
    path = save_run(trainer_of(tmp_path), tmp_path / "checkpoint_1_0.pt")
    named = [f"checkpoint.restore_file={path}"]
    fused = [*named, "optimizer._name=fused_adamw", "optimizer.adam_betas=[0.9,0.98]"]
    with pytest.raises(InputError) as error:
        trainer_of(tmp_path, *fused).load_checkpoint(path)
    assert str(error.value) == (
        f"{path} was written with another optimizer (FairseqAdam, now FusedAdamW): go on with that one, or take the "
        "weights alone by checkpoint.reset_optimizer=true"
    )
    assert trainer_of(tmp_path, *fused).load_checkpoint(path, reset_optimizer=True)
    with pytest.raises(
        InputError, match=r"checkpoint_1_0\.pt is not of this model: Error.*encoder\.layers\.2"
    ) as error:
        trainer_of(tmp_path, *named, "model.encoder_layers=3").load_checkpoint(path)
    assert "\n" not in str(error.value)
