"""A loss or gradient that is not finite: which update, which utterances, which module; and fairseq's policy is kept."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler
from trainers import trainer_of

from summarymixing_fairseq.benchmarks.recipe import noise_batch, train_step
from summarymixing_fairseq.training.watch.divergence import watched


@pytest.fixture
def trainer(tmp_path):
    return trainer_of(tmp_path)


def batch(first_id: int = 0) -> dict:
    made = noise_batch(2, 24_000)
    return {**made, "id": made["id"] + first_id}


class _BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.inf


def test_a_healthy_update_is_not_touched(trainer, caplog):
    with caplog.at_level(logging.WARNING):
        train_step(trainer, batch())
    assert trainer.get_num_updates() == 1 and not caplog.records


def test_the_first_module_of_a_forward_pass(trainer, caplog, tmp_path):
    train_step(trainer, batch())
    layer = trainer.get_model().encoder.layers[1]
    layer.ffn1.register_forward_hook(lambda module, inputs, output: output * math.nan)
    layer.conv.register_forward_hook(lambda module, inputs, output: output * math.inf)
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError) as error:
        train_step(trainer, batch(40))
    (record,) = [record for record in caplog.records if "summarymixing" in record.name]
    assert record.getMessage() == (
        "update 2: the loss is nan; the first module with an output that is not finite is encoder.layers.1.ffn1; "
        "utterances 40, 41. fairseq ends the run, and saves crash.pt as it was before this update"
    )
    assert str(error.value).startswith("update 2: gradients are Nan/Inf; the first module with an output")
    assert "encoder.layers.1.ffn1; utterances 40, 41" in str(error.value)
    state = torch.load(tmp_path / "crash.pt", weights_only=True)
    assert all(bool(torch.isfinite(weight).all()) for weight in state["model"].values())


def test_several_gpus_say_the_same(trainer, monkeypatch):
    """On these fairseq compares the processes' norms before it looks for one that is not finite."""

    def compare(self, norm):
        raise FloatingPointError("Fatal error: gradients are inconsistent between workers.")

    monkeypatch.setattr(type(trainer), "_check_grad_norms", compare)
    trainer.get_model().encoder.layers[1].ffn1.register_forward_hook(lambda module, inputs, output: output * math.nan)
    with pytest.raises(FloatingPointError, match=r"^update 1: gradients are Nan/Inf; .*encoder\.layers\.1\.ffn1"):
        train_step(trainer, batch())


@pytest.mark.long
def test_a_module_inside_compiled_layers(tmp_path):
    trainer = trainer_of(tmp_path, "+model.compile_layers=true")
    train_step(trainer, batch())
    trainer.get_model().encoder.layers[1].ffn1.inner.weight.data.fill_(3e38)
    with pytest.raises(FloatingPointError, match=r"encoder\.layers\.1\.ffn1\.inner;"):
        train_step(trainer, batch())


def test_a_disk_that_does_not_take_crash_pt_hides_nothing(tmp_path, caplog):
    trainer = trainer_of(tmp_path / "full")  # there is no such folder
    trainer.get_model().encoder.layers[0].ffn1.register_forward_hook(lambda module, inputs, output: output * math.nan)
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(FloatingPointError, match=r"encoder\.layers\.0\.ffn1; utterances"),
    ):
        train_step(trainer, batch())
    assert "full/crash.pt cannot be written: No such file or directory" in caplog.text


def test_the_first_module_of_a_backward_pass(trainer, caplog):
    """The loss is finite; of the two batches of the update only the second is to blame."""
    conv = trainer.get_model().encoder.layers[0].conv
    calls = []

    def spoil(module, inputs, output):
        calls.append(1)
        # the second batch of the update, in fairseq's own second look, and in ours
        return _BadGradient.apply(output) if len(calls) % 2 == 0 else output

    conv.register_forward_hook(spoil)
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError) as error:
        trainer.train_step([batch(), batch(10)])
    assert "update 1: gradients are Nan/Inf" in str(error.value)
    assert "first module (from the loss on) with a gradient that is not finite is encoder.layers.0." in str(error.value)
    assert "utterances 10, 11" in str(error.value) and "utterances 0, 1" not in str(error.value)
    assert not [record for record in caplog.records if "the loss is" in record.getMessage()]


def test_input_and_parameters_are_named_themselves(trainer, caplog):
    bad = batch()
    bad["net_input"]["source"][1, 5] = math.inf
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError, match="the waveform itself is not finite"):
        train_step(trainer, bad)
    trainer.get_model().objective.final_proj.weight.data[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"parameter objective\.final_proj\.weight itself is not finite"):
        train_step(trainer, batch())


def test_a_loss_that_overflows_is_told_from_modules_that_do(trainer, caplog):
    trainer.get_criterion().loss_weights = [math.inf]
    with caplog.at_level(logging.ERROR), pytest.raises(FloatingPointError):
        train_step(trainer, batch())
    assert "all modules' outputs are finite: the loss itself overflows" in caplog.text


def test_utterances_by_their_files(trainer):
    dataset = SimpleNamespace(dataset=SimpleNamespace(fnames={3: "a.flac", 9: "b/c.flac"}))
    trainer.task.datasets["train"] = dataset
    assert trainer.task.clip_names(torch.tensor([9, 3])) == "9 (b/c.flac), 3 (a.flac)"
    del trainer.task.datasets["train"]
    assert trainer.task.clip_names(torch.arange(11)) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"


def test_the_death_of_the_loss_scale_says_what_to_try(trainer):
    trainer.task.begin_update(trainer, [])
    scaler = DynamicLossScaler(init_scale=2e-4, min_loss_scale=1e-4)
    with pytest.raises(FloatingPointError) as death:
        scaler.check_overflow(math.inf)
    message = trainer.task.explain_divergence([batch()], death.value)
    assert message.startswith("update 1: Minimum loss scale reached")
    for remedy in ("common.amp=true in place of common.fp16", "common.bf16=true", "optimization.lr", "warmup_updates"):
        assert remedy in message


@pytest.mark.parametrize(
    ("precision", "words"),
    [("amp", "tries the batch again"), ("fp16", "lowers the loss scale and skips"), ("bf16", "ends the run")],
)
def test_the_policy_is_that_of_the_precision(trainer, precision, words):
    trainer.task.begin_update(trainer, [])
    trainer.cfg.common[precision] = True
    trainer.optimizer.scaler = torch.amp.GradScaler("cpu")  # asked for under amp alone
    assert words in trainer.task._policy()


def test_explanations_do_not_flood_the_log(trainer, caplog):
    trainer.task.begin_update(trainer, [])
    with caplog.at_level(logging.ERROR):
        for number in [0, 0, *range(30)]:
            trainer.task._explain_loss(math.nan, batch(number), trainer.get_criterion(), seed=1)
    assert len(caplog.records) == 20


def test_hooks_are_gone_afterwards(trainer):
    model = trainer.get_model()
    with watched(model) as found:
        pass
    assert found.forward is None and not any(module._forward_hooks for module in model.modules())


def test_a_resumed_run_has_the_loss_scale_as_it_was(trainer):
    """fairseq keeps fp16's scale alone, and nothing of amp's."""
    fp16 = DynamicLossScaler(init_scale=128.0)
    fp16._iter, fp16._last_overflow_iter = 77, 70
    amp = torch.amp.GradScaler("cpu", init_scale=4096.0)
    amp.scale(torch.ones(1))
    task = trainer.task
    for scaler, fresh in ((fp16, DynamicLossScaler()), (amp, torch.amp.GradScaler("cpu"))):
        trainer.optimizer.scaler = scaler
        task.begin_update(trainer, [])
        state = task.get_checkpoint_dict()[type(task).__name__]
        trainer.optimizer.scaler = fresh
        task.set_checkpoint_dict(state)
        task.begin_update(trainer, [])
        assert fresh.state_dict() == amp.state_dict() if scaler is amp else vars(fresh) == vars(fp16)
    # how the scale moves is said by the configuration of the run that goes on
    trainer.optimizer.scaler = fp16
    state = task.get_checkpoint_dict()[type(task).__name__]
    trainer.optimizer.scaler = lower = DynamicLossScaler(scale_window=5, min_loss_scale=1e-8)
    task.set_checkpoint_dict(state)
    task.begin_update(trainer, [])
    assert (lower.loss_scale, lower._iter, lower.scale_window, lower.min_loss_scale) == (128.0, 77, 5, 1e-8)
