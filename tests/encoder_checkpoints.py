"""Small models of each kind, and checkpoints of them as fairseq saves and has saved them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.models.hubert.hubert_asr import HubertCtc, HubertCtcConfig
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from torch import Tensor, nn

SMALL = {
    "conv_feature_layers": "[(12, 10, 5)] + [(12, 3, 2)] * 4 + [(12,2,2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    # what an encoder of hidden states must not do
    "encoder_layerdrop": 0.5,
    "dropout_input": 0.1,
    "activation_dropout": 0.1,
    "feature_grad_mult": 0.1,
}
OURS = "wav2vec2_summarymixing"
TASKS = {
    "wav2vec2": "audio_pretraining",
    "hubert": "hubert_pretraining",
    OURS: "speech_pretraining",
}


def randomise(model: nn.Module) -> nn.Module:
    """Norms, biases and running statistics away from their start, eval mode."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter.data, mean=0.3, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def stock_model(kind: str, **changes: Any) -> nn.Module:
    """A small ``Wav2Vec2Model`` or ``HubertModel``, ``cfg`` its configuration."""
    if kind == "wav2vec2":
        return randomise(
            Wav2Vec2Model(Wav2Vec2Config(**{**SMALL, "final_dim": 8, "quantize_targets": True, **changes}))
        )
    cfg = HubertConfig(**{**SMALL, "final_dim": 8, "label_rate": 50.0, **changes})
    model = HubertModel(cfg, SimpleNamespace(sample_rate=16_000), [range(7)])
    nn.init.normal_(model.label_embs_concat)
    model.cfg = cfg
    return randomise(model)


def configuration(model: nn.Module, kind: str, **task: Any) -> dict[str, Any]:
    """fairseq's whole configuration of a pre-training model, plain."""
    task = {"_name": TASKS[kind], "data": "gone", "normalize": False, "sample_rate": 16_000, **task}
    return {"model": {**asdict(model.cfg), "_name": kind}, "task": task, "common": {"seed": 1}}


def flat(config: dict[str, Any]) -> Namespace:
    """The same as the command line's arguments, which fairseq saved until 2020."""
    values = {**config["task"], **config["model"], "arch": config["model"]["_name"], "task": config["task"]["_name"]}
    del values["_name"]
    if values.get("w2v_args"):
        values["w2v_args"] = flat(values["w2v_args"])
    return Namespace(**values)


def save(path: Path, config: dict[str, Any], weights: dict[str, Tensor], form: str = "cfg", **changes: Any) -> Path:
    """Save as fairseq does: ``form`` cfg (today), args (until 2020) or omegaconf (between); entries may be changed."""
    if form == "args":
        entries = {"args": flat(config), "cfg": None}
    else:
        entries = {"args": None, "cfg": OmegaConf.create(config) if form == "omegaconf" else config}
    history = [{"num_updates": 3, "lr_scheduler_state": {}}]
    extra = {"extra_state": {"train_iterator": {"epoch": 1}}, "optimizer_history": history}
    torch.save({**entries, "model": weights, **extra, "task_state": {}, **changes}, path)
    return path


def letters(symbols: Sequence[str] = "A") -> Dictionary:
    """fairseq's dictionary of these symbols and its own four."""
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol, 7)
    return dictionary


def fine_tune(
    model: nn.Module, kind: str, folder: Path, dictionary: Dictionary | None = None
) -> tuple[dict[str, Any], nn.Module]:
    """fairseq's CTC model around an encoder like ``model``: its configuration as saved, and itself in eval mode."""
    dictionary = dictionary or letters()
    w2v_args = configuration(model, kind, data=str(folder))
    defaults: Any = Wav2Vec2CtcConfig()
    build, name, extra = Wav2VecCtc.build_model, "wav2vec_ctc", {"ddp_backend": "legacy_ddp"}
    if kind == "hubert":
        w2v_args["task"]["label_rate"] = 50.0
        defaults = HubertCtcConfig()
        build, name, extra = HubertCtc.build_model, "hubert_ctc", {"autoregressive": False}
    config = {**asdict(defaults), "w2v_path": "gone.pt", "w2v_args": w2v_args, "data": str(folder), "normalize": False}
    config.update(extra)
    task = SimpleNamespace(target_dictionary=dictionary, state_dict=lambda: {"dictionaries": [dictionary]})
    ctc = build(OmegaConf.create(config), task)
    whole = {"model": {**config, "_name": name}, "task": {"_name": "audio_finetuning", "normalize": False}}
    return whole, randomise(ctc)


def save_recogniser(
    path: Path, model: nn.Module, symbols: Sequence[str], heard: str, task: dict[str, Any], criterion: dict[str, Any]
) -> Path:
    """A fine-tuned checkpoint around our ``model`` that hears one symbol, ``heard``, in every clip."""
    dictionary = letters(symbols)
    config, ctc = fine_tune(model, OURS, path.parent, dictionary)
    config.update(task={**config["task"], **task}, criterion=criterion)
    config["model"]["w2v_args"]["task"]["normalize"] = config["task"]["normalize"]  # as fairseq asks
    nn.init.zeros_(ctc.w2v_encoder.proj.weight)
    ctc.w2v_encoder.proj.bias.data = torch.arange(len(dictionary)).eq(dictionary.index(heard)).float()
    return save(path, config, ctc.state_dict(), task_state={"target_dictionary": dictionary})


def own_states(model: nn.Module, source: Tensor) -> tuple[list[Tensor], Tensor]:
    """Hidden states (1, T, D) in the forward pass of fairseq's model itself, and its output."""
    seen: dict[str, Any] = {}
    hooks = [
        model.encoder.layers[0].register_forward_pre_hook(lambda _, args: seen.update(first=args[0])),
        model.encoder.register_forward_hook(lambda _, args, result: seen.update(result=result)),
    ]
    with torch.no_grad():
        model.extract_features(source, None, mask=False)
    for hook in hooks:
        hook.remove()
    output, layer_results = seen["result"]
    # (T, B, D) -> (B, T, D); the first layer's input still has the frames that fairseq pads to an even number
    states = [seen["first"].transpose(0, 1)[:, : output.size(1)]]
    return states + [x.transpose(0, 1) for x, *_ in layer_results], output
