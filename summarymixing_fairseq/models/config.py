"""Configuration of ``wav2vec2_summarymixing``: fairseq's ``Wav2Vec2Config`` and the fields it lacks."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Dict, List, Tuple  # not list[int]: fairseq reads these annotations on every Python

import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..modules.frontend import stacked_frames
from ..modules.mixing import MIXERS, MixerOptions
from ..modules.mixing import OPTIONS as MIXER_OPTIONS
from ..system.errors import InputError
from ..system.options import Refused, check_choice, read_options
from .objectives import OBJECTIVES, ObjectiveOptions
from .objectives import OPTIONS as OBJECTIVE_OPTIONS

# An entry of `mixers`: a mixer, and for how many layers.
_MIXER_TIMES = re.compile(r"(\w{1,80})(?:\*(\d{1,4}))?")


@dataclass
class Wav2Vec2SummaryMixingConfig(Wav2Vec2Config):
    """New fields only; the sizes, masks, quantizer and negatives are fairseq's own fields.

    ``attention_dropout`` is the dropout inside whichever mixer: on attention's weights, or on the cell's [f ; s].
    """

    mixer: str = field(
        default="summarymixing", metadata={"help": f"token mixer of every layer: {', '.join(sorted(MIXERS))}"}
    )
    mixers: List[str] = field(
        default_factory=list,
        metadata={
            "help": "in place of mixer: one for each layer from the first, NAME, or NAME*N for N layers: "
            "[summarymixing*10,mhsa*2]"
        },
    )
    mixer_options: Dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "options of the mixer by name (see summarymixing options); with mixers: by mixer, then by name"
        },
    )
    objective: str = field(
        default="contrastive", metadata={"help": f"what pre-training learns: {', '.join(sorted(OBJECTIVES))}"}
    )
    objective_options: Dict[str, Any] = field(
        default_factory=dict, metadata={"help": "options of the objective by name"}
    )
    targets: str = field(
        default="latents",
        metadata={"help": "what the contrastive objective quantizes: latents, detached (no gradient) or filterbank"},
    )
    summary_mode: str = field(
        default="full",
        metadata={"help": "form of the SummaryMixing cell: full, lite, expdecay, local, global or sum"},
    )
    summary_heads: int = field(default=8, metadata={"help": "diagonal blocks of the cell's layers; divides its widths"})
    local_hidden_dim: int = field(
        default=0, metadata={"help": "hidden width of the local branch; 0: encoder_embed_dim"}
    )
    local_out_dim: int = field(default=0, metadata={"help": "output width of the local branch; 0: encoder_embed_dim"})
    summary_hidden_dim: int = field(
        default=0, metadata={"help": "hidden width of the summary branch; 0: encoder_embed_dim"}
    )
    summary_out_dim: int = field(
        default=0, metadata={"help": "output width of the summary branch; 0: encoder_embed_dim"}
    )
    summary_layer_norm: bool = field(
        default=True, metadata={"help": "LayerNorm after the local branch and after the mean of the summary branch"}
    )
    summary_activation: str = field(
        default="gelu", metadata={"help": "activation of the cell: gelu, relu, swish or none"}
    )
    summary_gate: bool = field(default=False, metadata={"help": "a learned number weighs local branch and summary"})
    mask_fill: bool = field(
        default=False,
        metadata={
            "help": "in pre-training: after the spans, mask single frames until exactly mask_prob of the frames are "
            "masked; false: spans alone, as in wav2vec 2.0"
        },
    )
    init: str = field(
        default="xavier",
        metadata={
            "help": "how the weights of the encoder's layers start: xavier, biases at zero; torch: as those of torch's "
            "linear and convolution layers"
        },
    )
    final_norm_eps: float = field(
        default=1e-5, metadata={"help": "added to the variance in the LayerNorm after the last layer"}
    )
    positions: str = field(
        default="sinusoids",
        metadata={
            "help": "what is added to the encoder's input: sinusoids of the frame's number, as in the paper; none: the "
            "convolutions alone tell where a frame is. A streaming model has none"
        },
    )
    num_mel_bins: int = field(default=80, metadata={"help": "mel bins of the filterbank"})
    frontend_channels: int = field(
        default=512, metadata={"help": "channels of the feature extractor's convolutions, width of the latents"}
    )
    frontend_kernel_sizes: List[int] = field(
        default_factory=lambda: [3, 3], metadata={"help": "kernel size of each convolution of the feature extractor"}
    )
    frontend_strides: List[int] = field(
        default_factory=lambda: [2, 1], metadata={"help": "stride of each convolution of the feature extractor"}
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "a model that reads a stream chunk by chunk, and whole clips too: the filterbank is normalised by "
            "what was heard so far, no positions are added, and training draws chunks; the mixers must stream "
            "(summarymixing, rope_mhsa, local, ssd)"
        },
    )
    chunk_frames: List[int] = field(
        default_factory=lambda: [8, 32],
        metadata={"help": "streaming: fewest and most frames of the chunks of a batch"},
    )
    left_frames: List[int] = field(
        default_factory=lambda: [64, 256],
        metadata={"help": "streaming: fewest and most frames before a chunk that attention hears"},
    )
    full_context: float = field(
        default=0.5, metadata={"help": "streaming: share of the batches of training that are read as whole clips"}
    )
    recompute: str = field(
        default="none",
        metadata={
            "help": "what the backward pass computes again to save memory: none; cheap: norms, activations, dropout, "
            "copies, sums; layer: all but a layer's input, as checkpoint_activations"
        },
    )
    compile_layers: bool = field(
        default=False,
        metadata={"help": "torch.compile the encoder layers where there is a compiler"},
    )


DEFAULTS = vars(Wav2Vec2SummaryMixingConfig())


def value_of(cfg: Wav2Vec2SummaryMixingConfig, name: str, *default: object) -> Any:
    """A field's value as plain containers, or a default if there is no such field.

    Raises:
        InputError: where it refers to what is not there.
    """
    try:
        value = getattr(cfg, name, *default)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except (AttributeError, OmegaConfBaseException) as error:
        raise InputError(f"model.{name} has no value: {str(error).splitlines()[0]}") from None


@contextmanager
def naming_the_field(names: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Have a refusal name the field of the model's configuration, which ``names`` gives for an option."""
    try:
        yield
    except Refused as refused:
        name = names.get(refused.name, refused.name)
        raise InputError(f"model.{Refused(name, refused.value, refused.allowed)}") from None


def _plugged_in(
    cfg: Wav2Vec2SummaryMixingConfig, kind: str, name: str, place: str, given: Any, options_class: Any, *sizes: int
) -> Any:
    """Options of the mixer or objective of a name, checked.

    Args:
        kind: "mixer" or "objective"; place: where in the configuration ``given`` stands, options by name. An option
            that is not among them stands in the field of the configuration that it is known by.
    """
    if not isinstance(given, dict):
        raise InputError(f"model.{Refused(place, given, 'must be options by name')}")
    values, names = dict(given), {option: f"{place}.{option}" for option in given}
    for option in fields(options_class):
        model_field = option.metadata["model_field"]
        if model_field is None:
            continue
        value = value_of(cfg, model_field)
        if option.name not in given:
            values[option.name], names[option.name] = value, model_field
        elif not same_value(value, DEFAULTS[model_field]) and not same_value(value, given[option.name]):
            allowed = f"model.{model_field}={value!r} says otherwise: set one of the two"
            raise InputError(f"model.{Refused(names[option.name], given[option.name], allowed)}")
    with naming_the_field(names):
        options = read_options(options_class, values, f"model.{kind}={name}")
        options.check(*sizes)
    return options


def layer_mixers(cfg: Wav2Vec2SummaryMixingConfig) -> List[Tuple[str, MixerOptions]]:
    """The mixer of each layer, and its options.

    Raises:
        InputError: naming the field, for a mixer, a number of layers or an option that is not valid.
    """
    width, given = cfg.encoder_embed_dim, value_of(cfg, "mixer_options")
    with naming_the_field():
        names = _mixer_names(cfg)
        if not names:
            name, num_layers = value_of(cfg, "mixer"), cfg.encoder_layers
            check_choice("mixer", name, sorted(MIXERS))
            options = _plugged_in(cfg, "mixer", name, "mixer_options", given, MIXER_OPTIONS[name], width)
            return [(name, options)] * num_layers
        if not isinstance(given, dict) or not all(isinstance(of_one, dict) for of_one in given.values()):
            raise Refused("mixer_options", given, "with model.mixers these must be options by name for each mixer")
        for name in given:
            if name not in names:
                raise Refused("mixer_options", {name: given[name]}, "no layer has this mixer (model.mixers)")
    of_mixer = {
        name: _plugged_in(cfg, "mixer", name, f"mixer_options.{name}", given.get(name, {}), MIXER_OPTIONS[name], width)
        for name in dict.fromkeys(names)
    }
    return [(name, of_mixer[name]) for name in names]


def _mixer_names(cfg: Wav2Vec2SummaryMixingConfig) -> List[str]:
    """Names out of ``mixers``, one for each layer; empty where ``mixer`` holds for all. Raises Refused."""
    given = value_of(cfg, "mixers")
    if not isinstance(given, list):
        raise Refused("mixers", given, "must be a list of NAME or NAME*N, for the layers from the first")
    if not given:
        return []
    if not same_value(value_of(cfg, "mixer"), DEFAULTS["mixer"]):
        raise Refused("mixers", given, f"model.mixer={cfg.mixer!r} says otherwise: set one of the two")
    counts = []
    for entry in given:
        found = _MIXER_TIMES.fullmatch(entry) if isinstance(entry, str) else None
        if found is None or found[1] not in MIXERS or found[2] == "0":
            mixers = ", ".join(sorted(MIXERS))
            raise Refused("mixers", entry, f"must be NAME or NAME*N, NAME one of {mixers}, and N at least 1")
        counts.append((found[1], int(found[2] or 1)))
    if (num_mixers := sum(times for _, times in counts)) != cfg.encoder_layers:
        raise Refused("mixers", given, f"these are {num_mixers} layers, model.encoder_layers={cfg.encoder_layers}")
    return [name for name, times in counts for _ in range(times)]


def energies_dim(cfg: Wav2Vec2SummaryMixingConfig) -> int:
    """Width of the log-mel frames, stacked, that an objective may make targets of."""
    windows = list(zip(cfg.frontend_kernel_sizes, cfg.frontend_strides))
    return stacked_frames(windows)[1] * cfg.num_mel_bins


def objective_options(cfg: Wav2Vec2SummaryMixingConfig) -> ObjectiveOptions:
    """Options of the objective. Raises InputError, naming the field, for one that is not valid."""
    name, given = value_of(cfg, "objective"), value_of(cfg, "objective_options")
    with naming_the_field():
        check_choice("objective", name, sorted(OBJECTIVES))
    widths = (cfg.frontend_channels, cfg.encoder_embed_dim, energies_dim(cfg))
    return _plugged_in(cfg, "objective", name, "objective_options", given, OBJECTIVE_OPTIONS[name], *widths)


def _num_weights(mixer: str, options: MixerOptions, dim: int) -> int:
    """Entries of the weight matrices of a mixer, which is made without memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in MIXERS[mixer](options, dim, 0.0).parameters() if p.dim() > 1)


def num_parameters(cfg: Wav2Vec2SummaryMixingConfig) -> int:
    """How many weights a configuration that is valid asks for, before any is made; without biases and norms."""
    dim, channels, bins = cfg.encoder_embed_dim, cfg.frontend_channels, cfg.num_mel_bins
    layers = layer_mixers(cfg)
    of_mixer = {name: _num_weights(name, options, dim) for name, options in dict(layers).items()}
    mixers = sum(of_mixer[name] for name, _ in layers)
    layer = 4 * dim * cfg.encoder_ffn_embed_dim + 3 * dim * dim + dim * cfg.depthwise_conv_kernel_size
    frontend = channels * sum(k * (channels if i else bins) for i, k in enumerate(cfg.frontend_kernel_sizes))
    objective = objective_options(cfg).num_weights(channels, dim, energies_dim(cfg))
    return cfg.encoder_layers * layer + mixers + frontend + channels * dim + objective


def same_value(value: Any, default: Any) -> bool:
    """Whether both are the same; lists and tuples of the same entries are."""
    try:
        if isinstance(value, (list, tuple)) and isinstance(default, (list, tuple)):
            return list(value) == list(default)
        return bool(value == default)
    except (TypeError, ValueError):  # an array, which has no truth
        return False
