"""The model card: what a checkpoint says of itself, as Markdown with the head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checkpoints.contents import config_of, num_updates_of, section, sections
from ..checkpoints.encoders import ours
from ..checkpoints.private import without_places
from ..system.tables import markdown_table
from ..system.units import SAMPLE_RATE_HZ
from ..version import __version__
from .source import Source

UNKNOWN = "not in the checkpoint: please fill in"
# fields of the configuration that tell how a model was trained, by section
RECIPE = {
    "task": ("_name", "labels", "normalize", "max_sample_size"),
    "criterion": ("_name", "post_process"),
    "optimizer": ("_name", "adam_betas", "weight_decay"),
    "lr_scheduler": ("_name", "warmup_updates"),
    "optimization": ("max_update", "lr", "update_freq", "clip_norm"),
    "dataset": ("max_tokens", "batch_size"),
    "distributed_training": ("distributed_world_size",),
    "common": ("seed", "amp", "fp16", "bf16"),
    "model": ("objective", "mask_prob", "mask_length", "mask_fill", "init", "apply_mask", "freeze_finetune_updates"),
}


def model_card(source: Source, to: str, licence: str, usage: str) -> str:
    """The card of an export. It names no file or folder of this machine.

    Args:
        to: the format; licence: an identifier of SPDX's; usage: the file of use.
    """
    is_ours = source.encoder is not None and source.encoder.spec.kind == ours.KIND
    what = "automatic-speech-recognition" if source.fine_tuned else "feature-extraction"
    head = ["---", f"license: {licence}", *([f"pipeline_tag: {what}"] if source.encoder is not None else [])]
    head += ["tags:", *(f"- {tag}" for tag in ["speech", *(_mixers(source) if is_ours else [])]), "---"]
    title = source.name if source.encoder is None else source.encoder.describe()
    num_parameters = sum(weight.numel() for weight in source.state["model"].values())
    lines = [
        *head,
        f"# {title}",
        "",
        f"{num_parameters:,} parameters; written by `summarymixing export --to {to}` of summarymixing-fairseq "
        f"{__version__}{' (wav2vec 2.0 with SummaryMixing, https://arxiv.org/abs/2407.13377)' if is_ours else ''}.",
        "",
        "## Use",
        "",
        "```python",
        usage.rstrip(),
        "```",
        "",
        "## Data",
        "",
        _table(
            [
                ("audio heard in the last run, repetitions included", _hours(source)),
                *((name, UNKNOWN) for name in ("corpora", "languages", "speakers, consent")),
            ]
        ),
        "",
        "## Recipe",
        "",
        _table(_recipe(source)),
        "",
        "## Measures",
        "",
        _table(list(_measures(source)) or [("none", "the checkpoint holds none")]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in _limits(source)),
        "",
        "## Licence",
        "",
        f"{licence if licence != 'unknown' else UNKNOWN} (the weights; the code is MIT)",
    ]
    return "\n".join(lines) + "\n"


def _table(rows: list[tuple[str, Any]]) -> str:
    return markdown_table(("", ""), [(name, str(value)) for name, value in rows])


def _mixers(source: Source) -> list[str]:
    config = {} if source.encoder is None else source.encoder.spec.config
    names = [entry.split("*")[0] for entry in config.get("mixers") or []] or [config.get("mixer", "")]
    return [name for name in dict.fromkeys(("summarymixing", *names)) if name]


def _own_state(source: Source) -> dict[str, Any]:
    """What the task of the training has saved of itself."""
    states = section(source.state, "extra_state").values()
    return next((state for state in states if isinstance(state, dict) and "audio_seconds" in state), {})


def _hours(source: Source) -> str:
    seconds = _own_state(source).get("audio_seconds")
    return f"{seconds / 3600:,.1f} h" if seconds is not None and _is_finite(seconds) else UNKNOWN


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # an int may be too large for a float


def _recipe(source: Source) -> list[tuple[str, Any]]:
    config = without_places(config_of(source.state))
    rows: list[tuple[str, Any]] = [("updates", num_updates_of(source.state))]
    model, task = sections(config)
    encoder = sections(model["w2v_args"])[0] if isinstance(model.get("w2v_args"), dict) else {}
    for name, fields in RECIPE.items():
        values = {"model": {**encoder, **model}, "task": task}.get(name, section(config, name))
        rows += [
            (f"{name}.{field}", values[field])
            for field in fields
            if values.get(field) not in (None, "") and type(values[field]) in (str, int, float, bool, list)
        ]
    return rows


def _measures(source: Source) -> Iterator[tuple[str, str]]:
    extra = section(source.state, "extra_state")
    metric = section(section(source.state, "cfg"), "checkpoint").get("best_checkpoint_metric")
    if _is_finite(extra.get("val_loss")):
        yield f"validation {metric if isinstance(metric, str) else 'loss'}", f"{extra['val_loss']:.4g}"
    if _is_finite(extra.get("best")):
        yield f"best validation {metric if isinstance(metric, str) else 'loss'} of the run", f"{extra['best']:.4g}"


def _limits(source: Source) -> Iterator[str]:
    yield f"Audio of one channel at {SAMPLE_RATE_HZ // 1000} kHz; other rates must be resampled."
    if source.encoder is not None:
        yield f"A clip has at least {source.encoder.min_samples() / SAMPLE_RATE_HZ * 1000:g} ms."
        if (most := source.max_frames()) is not None:
            yield f"A clip has at most {most / source.encoder.frame_rate_hz:g} s."
    if source.fine_tuned is not None:
        yield "It spells the symbols of its training alone, and writes what it hears in any language as these."
    elif source.encoder is not None:
        yield "Its states are not text: they need a head that is trained for the task."
    yield "Languages, accents, noise and channels other than those of its training were not measured."
