"""Read checkpoints of ``ssl_probe``. They hold all that the probe needs: the encoder's own file is not read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary

from ..checkpoints.contents import check_proportion, load_weights, over_defaults, refusals_named, section, weights_of
from ..checkpoints.encoders import EncoderSpec, num_parameters
from ..checkpoints.untrusted_file import load_safely
from ..system.errors import InputError
from .model import HEAD_OPTIONS, SslProbe, SslProbeConfig

MODEL_NAME = "ssl_probe"
RECOGNITION, CLASSIFICATION, VERIFICATION = "probe_recognition", "probe_classification", "probe_verification"


@dataclass(frozen=True)
class Probe:
    """A trained probe: model in eval mode, dictionary of symbols, classes or speakers, and fairseq's configuration."""

    path: Path
    model: SslProbe
    dictionary: Dictionary
    config: dict[str, Any]

    @property
    def task(self) -> str:
        """``RECOGNITION``, ``CLASSIFICATION`` or ``VERIFICATION``."""
        return self.config["task"]["_name"]


def load_probe(path: Path, device: str | torch.device = "cpu") -> Probe:
    """Load the checkpoint of a probe.

    Raises:
        InputError: for a file that is missing, no checkpoint, of another model, or damaged.
    """
    path = Path(path)
    state = load_safely(path)
    weights = weights_of(state, path)
    config = section(state, "cfg")
    model_config, task_config = section(config, "model"), section(config, "task")
    if model_config.get("_name") != MODEL_NAME:
        name = model_config.get("_name")
        raise InputError(f"{path} is a checkpoint of {name!r}, not of a probe ({MODEL_NAME!r}): see examples/mp3s")
    if task_config.get("_name") not in (RECOGNITION, CLASSIFICATION, VERIFICATION):
        raise InputError(f"{path} was trained by task {task_config.get('_name')!r}, which trains no probes")
    if not model_config.get("w2v_args"):
        raise InputError(f"{path} does not describe its encoder: was it saved by a task of this package?")
    dictionary = section(state, "task_state").get("target_dictionary")
    if not isinstance(dictionary, Dictionary):
        raise InputError(f"{path} holds no dictionary of its symbols or classes")
    with refusals_named(path):
        spec = EncoderSpec.from_dict(model_config["w2v_args"])
        check_proportion(num_parameters(spec) + _head_parameters(model_config), weights, path)
        merged = over_defaults(SslProbeConfig(), model_config)
        model = SslProbe.build_model(merged, SimpleNamespace(target_dictionary=dictionary))
    load_weights(model, weights, path)
    model.requires_grad_(False).eval()
    return Probe(path, model.to(device), dictionary, config)


def _head_parameters(model_config: dict[str, Any]) -> int:
    """Rough number of parameters of a head: the product of its two largest sizes, or the square of its only one."""
    options = {**{name: model_config.get(name) for name in HEAD_OPTIONS}, **section(model_config, "head_options")}
    sizes = sorted(value for value in options.values() if type(value) is int)
    return sizes[-1] * sizes[-2 if len(sizes) > 1 else -1] if sizes else 0
