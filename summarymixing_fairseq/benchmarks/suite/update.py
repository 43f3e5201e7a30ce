"""One whole pre-training update by fairseq's trainer, optimizer included."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from ..benchmark import PRECISIONS, Benchmark, Step, add_config, add_sizes, mixer_names, of_mixer

REFERENCE = "summarymixing"
NO_DROPOUT = "mhsa, no attention dropout"
PAPER_SETTING = "the paper's setting"
STOCK = "fairseq's wav2vec2 conformer"
# fairseq's wav2vec 2.0 with Conformer layers and its waveform CNN; sizes, masks and quantizer are the recipe's.
# Relative positions, which would cost more, do not run in ve-fairseq 0.12.3.
STOCK_MODEL = {"_name": "wav2vec2", "layer_type": "conformer", "attn_type": "espnet", "pos_enc_type": "abs"}
ADAM = ["optimizer._name=adam", "optimizer.adam_betas='(0.9,0.98)'"]
# Mixer and overrides of contenders that are our model with other settings. The paper's setting also has attention with
# its T x T weights in memory and fairseq's objective, see ``_use_rivals``.
SETTINGS = {
    NO_DROPOUT: ("mhsa", ["model.attention_dropout=0"]),
    PAPER_SETTING: ("mhsa", ADAM),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipe, batch and precision."""
    add_config(parser)
    add_sizes(parser, "--seconds", float, [15.0], "length of a clip")
    parser.add_argument("--clips", type=int, default=4, help="clips of a batch")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="fairseq's training precision")
    recompute = ("none", "cheap", "layer")
    parser.add_argument("--recompute", choices=recompute, default="none", help="model.recompute of our contenders")
    parser.add_argument("--compile", action="store_true", help="model.compile_layers of the mixers")


def contenders() -> list[str]:
    """Every registered mixer, and the rivals."""
    return [*mixer_names(REFERENCE), *SETTINGS, STOCK]


def _stock_recipe(path: Path, overrides: list[str]) -> Any:
    """The recipe with fairseq's model and the criterion that it needs."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
    from omegaconf import OmegaConf, open_dict

    from ..recipe import read_recipe

    cfg = read_recipe(path, [*overrides, *ADAM, "criterion.loss_weights=[0.1,10]"])
    recipe: Any = OmegaConf.to_container(cfg.model, enum_to_str=True)
    shared = {name: recipe[name] for name in Wav2Vec2Config.__dataclass_fields__ if name in recipe}
    with open_dict(cfg):
        cfg.model = OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), shared)
    with open_dict(cfg.model):
        cfg.model.update(STOCK_MODEL)
    return cfg


def _use_rivals() -> None:
    """Put softmax attention and fairseq's objective into this process's model."""
    from fairseq.modules import GumbelVectorQuantizer

    from ...models.objectives import contrastive
    from ...modules.mixing import MIXERS
    from .. import rivals

    MIXERS["mhsa"] = rivals.SoftmaxAttention
    objective: Any = contrastive
    objective.ProductQuantizer = GumbelVectorQuantizer
    objective.sample_negatives, objective.info_nce_logits = rivals.sample_negatives, rivals.info_nce_logits


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """Trainer of the contender and a batch of noise. LayerDrop is off: every contender computes every layer."""
    import torch

    from ..recipe import build_trainer, noise_batch, precision_overrides, read_recipe, train_step

    overrides = ["task.data=.", "common.seed=1", "model.encoder_layerdrop=0"]
    overrides += precision_overrides(settings["precision"], device)
    path = Path(settings["config"])
    if contender == STOCK:
        cfg = _stock_recipe(path, overrides)
    else:
        mixer, more = SETTINGS.get(contender, (contender, []))
        overrides += [*of_mixer(mixer), f"model.recompute={settings['recompute']}"]
        overrides += [f"model.compile_layers={settings['compile'] and contender not in AS_SHIPPED}"]
        cfg = read_recipe(path, [*overrides, *more])
    if contender == PAPER_SETTING:
        if cfg.model.objective != "contrastive":
            raise InputError(f"{PAPER_SETTING}: of contrastive recipes only, {path} is {cfg.model.objective}")
        _use_rivals()
    trainer = build_trainer(cfg)
    # Knowing it, fairseq's trainer resets a GPU's peak memory after each update, before the benchmark can read it.
    trainer.cuda_env = None
    # the tasks collate in float64 where fairseq would round to half precision: see data/waveform.py
    in_float64 = contender != STOCK and settings["precision"] in ("fp16", "bf16")
    dtype = torch.float64 if in_float64 else torch.float32
    batch = noise_batch(settings["clips"], round(size * SAMPLE_RATE_HZ), dtype)
    # a second of audio sets up everything but the heap, which matters only if freed memory is kept
    second = noise_batch(1, SAMPLE_RATE_HZ, dtype) if contender in AS_SHIPPED and device == "cpu" else batch
    return Step(lambda: train_step(trainer, batch), lambda: train_step(trainer, second))


# The two whole systems run as they would without this plugin: freed memory goes back (see system.cpu_memory).
AS_SHIPPED = {name: {"SUMMARYMIXING_KEEP_FREED_MEMORY": "0"} for name in (PAPER_SETTING, STOCK)}
HELP = "one whole pre-training update, optimizer included"
# not held: four models of 155 M parameters with their optimizers do not fit into memory together
BENCHMARK = Benchmark(HELP, REFERENCE, "s a clip", add_arguments, contenders, build, hold=False, environment=AS_SHIPPED)
