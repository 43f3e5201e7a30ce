"""``common.amp``: fairseq's faults mended, and the precision of training and validation."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from fairseq.optim.amp_optimizer import AMPOptimizer
from torch.overrides import TorchFunctionMode
from trainers import trainer_of

from summarymixing_fairseq.benchmarks.recipe import noise_batch, train_step
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.precision import allow_tf32, product_dtype
from summarymixing_fairseq.training.patches.amp import total_norm

# dropout off: the same numbers in every precision
EXACT = ["model.dropout=0", "model.activation_dropout=0", "model.attention_dropout=0", "model.dropout_input=0"]


def make_trainer(folder, *overrides):
    return trainer_of(folder, *EXACT, "common.amp=true", *overrides)


def batch():
    return noise_batch(2, 16_000)


def record_losses(trainer):
    """Filled with the loss of each forward pass to come."""
    losses = []
    trainer.get_criterion().register_forward_hook(lambda module, inputs, output: losses.append(output[0].item()))
    return losses


@pytest.mark.parametrize("optimizer", ["fused_adamw", "adam"])
def test_a_loss_scale_has_no_effect_on_the_weights(tmp_path, optimizer):
    """Gradients are small against AdamW's epsilon, so that any other division by the scale shows."""
    betas = "'(0.9,0.98)'" if optimizer == "adam" else "[0.9,0.98]"
    weights = []
    for scale in (None, 128.0, 2.0**15):
        overrides = [f"optimizer._name={optimizer}", f"optimizer.adam_betas={betas}", "optimization.clip_norm=0.1"]
        trainer = make_trainer(tmp_path, *overrides, "task.amp_dtype=float32")
        if scale is not None:
            trainer.optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for _ in range(40):
            train_step(trainer, batch())
        assert trainer.get_num_updates() == 40
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.get_model().parameters()]))
    for scaled in weights[1:]:
        torch.testing.assert_close(scaled, weights[0], rtol=0, atol=1e-6)


def test_the_fields_of_the_scaler_are_what_they_say(tmp_path):
    scaler = make_trainer(
        tmp_path, "task.amp_dtype=float16", "common.amp_init_scale=64", "common.amp_scale_window=7"
    ).optimizer.scaler
    assert (scaler.is_enabled(), scaler.get_scale(), scaler.get_growth_interval()) == (True, 64.0, 7)
    assert make_trainer(tmp_path, "task.amp_dtype=float16").optimizer.scaler.get_growth_interval() == 2000


@pytest.mark.parametrize(
    ("setting", "dtype"),
    [("float16", torch.float16), ("bfloat16", torch.bfloat16), ("float32", torch.float32), ("auto", torch.float32)],
)
def test_products_in_the_chosen_dtype_and_weights_and_loss_in_float32(tmp_path, caplog, setting, dtype):
    with caplog.at_level(logging.INFO):
        trainer = make_trainer(tmp_path, f"task.amp_dtype={setting}", "common.amp_init_scale=8")
        scaled = trainer.optimizer.scaler.is_enabled()
    assert scaled is (dtype is torch.float16)
    assert f"common.amp: products in {str(dtype)[6:]}, the rest in float32" in caplog.text
    assert ("the loss is not scaled" in caplog.text) is not scaled
    found = {"train": set(), "valid": set()}
    product = trainer.get_model().encoder.layers[0].mixer
    product.register_forward_hook(
        lambda module, inputs, output: found["train" if module.training else "valid"].add(output.dtype)
    )
    losses = []
    trainer.get_criterion().register_forward_hook(lambda module, inputs, output: losses.append(output[0].dtype))
    train_step(trainer, batch())
    trainer.valid_step(batch())
    assert found == {"train": {dtype}, "valid": {dtype}}
    assert set(losses) == {torch.float32}
    assert {parameter.dtype for parameter in trainer.get_model().parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in trainer.get_model().parameters() if parameter.grad is not None} == {
        torch.float32
    }


def test_half_precision_learns_as_float32_does(tmp_path):
    """The same updates in each dtype: losses stay within half precision's rounding of one another."""
    losses = {}
    for setting in ("float32", "bfloat16", "float16"):
        trainer = make_trainer(tmp_path, f"task.amp_dtype={setting}", "lr_scheduler.warmup_updates=1")
        losses[setting] = record_losses(trainer)
        for _ in range(10):
            train_step(trainer, batch())
    assert losses["float32"][-1] < losses["float32"][0]
    # ten updates build on one another, and how products are rounded differs from processor to processor
    for setting, tolerance in (("bfloat16", 0.06), ("float16", 0.02)):
        assert losses[setting] == pytest.approx(losses["float32"], rel=tolerance)
        assert losses[setting] != losses["float32"]


def test_an_overflow_lowers_the_scale_and_loses_no_update(tmp_path, caplog):
    trainer = make_trainer(tmp_path, "task.amp_dtype=float16", "common.amp_init_scale=1099511627776")
    before = [parameter.detach().clone() for parameter in trainer.get_model().parameters()]
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            train_step(trainer, batch())
    assert "AMP: overflow detected" in caplog.text
    assert trainer.optimizer.scaler.get_scale() < 2.0**40 and trainer.get_num_updates() > 8
    after = list(trainer.get_model().parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert not all(torch.equal(old, new) for old, new in zip(before, after))


def test_each_batch_has_all_its_retries(tmp_path):
    trainer = make_trainer(tmp_path, "task.amp_dtype=float16", "common.amp_init_scale=8")
    trainer._amp_retries = 1  # of a batch before, which worked in the end
    train_step(trainer, batch())
    assert trainer.get_num_updates() == 1 and trainer._amp_retries == 0


def test_the_least_scale_is_told_once_with_what_to_set(tmp_path):
    """In the second try, which is inside the first."""
    trainer = make_trainer(tmp_path, "task.amp_dtype=float16", "common.amp_init_scale=16", "common.min_loss_scale=4")
    for parameter in list(trainer.get_model().parameters())[-1:]:
        parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError) as error:
        train_step(trainer, batch())
    assert str(error.value).count("That is: ") == str(error.value).count("update 1: ") == 1
    assert "set +task.amp_dtype=bfloat16 where the GPU has it" in str(error.value)


def test_how_fast_the_scale_grows_is_the_configurations(tmp_path):
    old, new = (
        make_trainer(tmp_path, "task.amp_dtype=float16", f"common.amp_scale_window={window}", "common.amp_init_scale=8")
        for window in (1, 9)
    )
    train_step(old, batch())
    (state,) = old.task.get_checkpoint_dict().values()
    new.task.set_checkpoint_dict(state)
    train_step(new, batch())
    assert (new.optimizer.scaler.get_scale(), new.optimizer.scaler.get_growth_interval()) == (16.0, 9)


def test_no_loss_scale_for_shards(tmp_path):
    """Each process would find overflows of its own shard alone."""
    trainer = make_trainer(tmp_path, "task.amp_dtype=float16", "common.amp_init_scale=8")
    trainer.cfg.distributed_training.ddp_backend = "fully_sharded"
    with pytest.raises(InputError, match="fully_sharded cannot scale losses: set .task.amp_dtype=bfloat16"):
        AMPOptimizer(trainer.cfg, [], None)


@pytest.mark.parametrize("setting", ["auto", "bfloat16"])
def test_without_a_scaler_a_bad_gradient_ends_the_run_with_its_explanation(tmp_path, setting):
    trainer = make_trainer(tmp_path, f"task.amp_dtype={setting}")
    layer = trainer.get_model().encoder.layers[1]
    layer.ffn1.register_forward_hook(lambda module, inputs, output: output * math.nan)
    with pytest.raises(FloatingPointError) as error:
        train_step(trainer, batch())
    assert str(error.value).startswith("update 1: gradients are Nan/Inf; the first module with an output")
    assert "encoder.layers.1.ffn1; utterances 0, 1" in str(error.value)


def test_auto_is_bfloat16_where_a_gpu_computes_in_it(monkeypatch):
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, known=supported: known)
        assert product_dtype("auto", "cuda") is dtype
    assert product_dtype("auto", "cpu") is torch.float32


def test_an_unknown_precision(tmp_path):
    with pytest.raises(InputError, match="precision 'half' is unknown: choose one of auto, float32"):
        train_step(make_trainer(tmp_path, "task.amp_dtype=half"), batch())


class _AllowsTf32(TorchFunctionMode):
    """Whether TF32 was allowed at each matrix product."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__):
            self.found.append(torch.backends.cuda.matmul.allow_tf32)
        return function(*args, **(kwargs or {}))


def test_the_filterbank_keeps_float32_where_other_products_are_in_tf32():
    filterbank = LogMelFilterbank()
    allow_tf32(True)
    try:
        with _AllowsTf32() as mode:
            filterbank(torch.zeros(1, 4_000))
            torch.ones(2, 2) @ torch.ones(2, 2)
        assert mode.found == [False, True]
    finally:
        allow_tf32(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_norm_of_the_gradients_is_fairseqs(dtype):
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(shape, generator=generator).to(dtype) for shape in ((300, 70), (7,), (1,), (3, 5, 9))]
    stock = torch.norm(torch.stack([torch.norm(grad, p=2, dtype=torch.float32) for grad in grads]))
    assert total_norm(grads).item() == stock.item()
