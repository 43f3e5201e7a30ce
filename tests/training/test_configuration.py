"""Settings that no run can have end it at the start, in a line that names them."""

from __future__ import annotations

from typing import Any

import pytest
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches.configuration import add_defaults


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model._name", "wav2vec2_summarymixin", "there is no such model; did you mean wav2vec2_summarymixing?"),
        ("optimizer._name", "fused_adam", "there is no such optimizer; did you mean fused_adamw?"),
        ("lr_scheduler._name", "xyzzy", "lr_scheduler._name=xyzzy: there is no such lr_scheduler"),
        ("task._name", "speech", "there is no such task"),
        ("criterion._name", "wav2vecc", "did you mean wav2vec?"),
        ("optimization.update_freq", [0], "optimization.update_freq=[0]: must be at least 1"),
        ("optimization.lr", [], "optimization.lr=[]: needs a learning rate"),
        ("optimization.max_update", 0, "lr_scheduler.total_num_update=0.0, of optimization.max_update"),
        ("common.seed", -1, "common.seed=-1: must be from 0 to 4294967295"),
        ("common.fp16", True, "common.fp16=true: a CPU cannot train in fp16"),
        ("dataset.num_workers", -1, "dataset.num_workers=-1: must be at least 0"),
    ],
)
def test_settings_that_no_run_can_have(field: str, value: Any, message: str) -> None:
    config: Any = OmegaConf.structured(FairseqConfig)
    config.common.cpu = True
    config.optimization.max_update = 5
    config.lr_scheduler = {"_name": "polynomial_decay"}
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, field, value)
    with pytest.raises(InputError) as error:
        add_defaults(config)
    assert message in str(error.value) and "\n" not in str(error.value)
