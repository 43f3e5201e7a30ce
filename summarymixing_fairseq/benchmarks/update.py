"""One whole pre-training update by fairseq's trainer, optimizer included."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import PRECISIONS, SAMPLE_RATE_HZ, add_config
from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "one whole pre-training update, optimizer included"
REFERENCE = "summarymixing"
SIZE_UNIT = "s a clip"
KEEP_FREED_MEMORY = True
HOLD = False  # four models of 155 M parameters with their optimizers do not fit beside one another
NO_DROPOUT = "mhsa, no attention dropout"
CHECKPOINTED = "summarymixing, layers recomputed"
PAPER_SETTING = "the paper's setting"
STOCK = "fairseq's wav2vec2 conformer"
# fairseq's wav2vec 2.0 with Conformer layers and its waveform CNN; sizes, masks and quantizer are the recipe's.
# Relative positions, which would cost more, do not run in ve-fairseq 0.12.3.
STOCK_MODEL = {"_name": "wav2vec2", "layer_type": "conformer", "attn_type": "espnet", "pos_enc_type": "abs"}

# Without this plugin nobody has its memory setting (see cpu_memory): the two whole systems run as they would there.
ENVIRONMENT = {name: {"SUMMARYMIXING_KEEP_FREED_MEMORY": "0"} for name in (PAPER_SETTING, STOCK)}
# What the paper's comparison had: besides these, attention by torch's plain product and softmax, fairseq's objective.
PAPER_OVERRIDES = ["model.fast_kernels=false", "optimizer._name=adam", "optimizer.adam_betas='(0.9,0.98)'"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe and batch."""
    add_config(parser)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0], help="length of a clip")
    parser.add_argument("--clips", type=int, default=4, help="clips of a batch")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="fairseq's training precision")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {"config": str(args.config), "clips": args.clips, "precision": args.precision}


def sizes(args: argparse.Namespace) -> list[float]:
    """Seconds."""
    return args.seconds


def contenders(settings: dict[str, Any]) -> list[str]:
    """Every registered mixer, and the rivals."""
    from ..modules.mixing import MIXERS

    return [REFERENCE, *sorted(set(MIXERS) - {REFERENCE}), NO_DROPOUT, CHECKPOINTED, PAPER_SETTING, STOCK]


def _stock_recipe(path: Path, overrides: list[str]) -> Any:
    """The recipe with fairseq's model and what it asks of the criterion."""
    from omegaconf import OmegaConf, open_dict

    from .recipe import read_recipe

    cfg = read_recipe(path, [*overrides, *PAPER_OVERRIDES[1:], "criterion.loss_weights=[0.1,10]"])
    recipe = OmegaConf.load(path).model
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config

    shared = {key: value for key, value in recipe.items() if key in Wav2Vec2Config.__dataclass_fields__}
    with open_dict(cfg):
        cfg.model = OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), shared)
    with open_dict(cfg.model):
        cfg.model.update({**STOCK_MODEL, "encoder_layerdrop": 0.0})
    return cfg


def _use_rivals() -> None:
    """Put softmax attention and fairseq's objective into this process's model."""
    from fairseq.modules import GumbelVectorQuantizer

    from ..models import wav2vec2_summarymixing
    from ..modules.mixing import register_mixer
    from .rivals import fairseq_objective
    from .rivals.mixers import SoftmaxAttention

    register_mixer("mhsa")(SoftmaxAttention)
    wav2vec2_summarymixing.ProductQuantizer = GumbelVectorQuantizer
    wav2vec2_summarymixing.sample_negatives = fairseq_objective.sample_negatives
    wav2vec2_summarymixing.info_nce_logits = fairseq_objective.info_nce_logits


def build(contender: str, size: float, settings: dict[str, Any], device: torch.device) -> Step:
    """Trainer of the contender and a batch of noise. LayerDrop is off: every contender computes every layer."""
    import torch

    from .recipe import build_trainer, noise_batch, precision_overrides, read_recipe, train_step

    overrides = ["task.data=.", "common.seed=1", *precision_overrides(settings["precision"], device)]
    path = Path(settings["config"])
    if contender == STOCK:
        cfg = _stock_recipe(path, overrides)
    else:
        mixer = {NO_DROPOUT: "mhsa", PAPER_SETTING: "mhsa", CHECKPOINTED: REFERENCE}.get(contender, contender)
        overrides += [f"model.mixer={mixer}", "model.encoder_layerdrop=0"]
        if contender == CHECKPOINTED:
            overrides.append("model.checkpoint_activations=true")
        if contender == NO_DROPOUT:
            overrides.append("model.attention_dropout=0")
        if contender == PAPER_SETTING:
            overrides += PAPER_OVERRIDES
            _use_rivals()
        cfg = read_recipe(path, overrides)
    trainer = build_trainer(cfg)
    # as the tasks collate it: see data/waveform.py
    in_float64 = contender != STOCK and settings["precision"] in ("fp16", "bf16")
    dtype = torch.float64 if in_float64 else torch.float32
    batch = noise_batch(settings["clips"], round(size * SAMPLE_RATE_HZ), dtype)
    # where no freed memory is kept there is no heap to warm: a second of audio sets up the rest
    second = noise_batch(1, SAMPLE_RATE_HZ, dtype) if contender in ENVIRONMENT and device.type == "cpu" else batch
    return Step(lambda: train_step(trainer, batch), lambda: train_step(trainer, second))
