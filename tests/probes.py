"""Tiny encoders in checkpoints, and probes on them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from encoder_checkpoints import configuration, save, stock_model
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

OURS = "wav2vec2_summarymixing"
# Each head with sizes that a test can afford
HEAD_OPTIONS: dict[str, dict[str, Any]] = {
    "bilstm_ctc": {"num_layers": 2, "hidden_dim": 6},
    "linear_ctc": {},
    "contextnet_ctc": {"width": 0.03125},
    "mean_linear": {},
    "bilstm_mean": {"num_layers": 2, "hidden_dim": 6},
    "xvector": {"embedding_dim": 8},
    "ecapa": {"embedding_dim": 8, "channels": 16, "aggregated_channels": 24},
}


def save_encoder(path: Path, model: nn.Module, kind: str = OURS, **task: Any) -> Path:
    """A checkpoint of a pre-training model, as fairseq saves it."""
    return save(path, configuration(model, kind, **task), model.state_dict())


def probe_config(encoder_path: Path | None, head: str, **options: Any) -> DictConfig:
    """Configuration of a probe with a head of ``HEAD_OPTIONS``."""
    from summarymixing_fairseq.probing.model import SslProbeConfig

    path = None if encoder_path is None else str(encoder_path)
    options = {"_name": "ssl_probe", "encoder_path": path, "head": head, **HEAD_OPTIONS.get(head, {}), **options}
    return OmegaConf.merge(OmegaConf.structured(SslProbeConfig()), options)


def build_probe(encoder_path: Path | None, head: str, num_classes: int = 5, **options: Any):
    """An ``ssl_probe`` in training mode."""
    from summarymixing_fairseq.probing.model import SslProbe

    task = SimpleNamespace(target_dictionary=range(num_classes))
    return SslProbe.build_model(probe_config(encoder_path, head, **options), task)


def states_of_model(model: nn.Module, source: Tensor, padding_mask: Tensor) -> tuple[list[Tensor], Tensor]:
    """Hidden states of our model's own forward, with their padding mask."""
    features = model.extract_features(source, padding_mask)
    return features["hidden_states"], features["padding_mask"]


__all__ = ["HEAD_OPTIONS", "OURS", "build_probe", "probe_config", "save_encoder", "states_of_model", "stock_model"]
