"""`--to hf`: a folder for transformers: AutoModel, AutoModelForCTC, AutoProcessor, pipeline and Trainer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...checkpoints.contents import config_of, num_updates_of, over_defaults
from ...checkpoints.hf_folder import BODY, HEAD, MODEL_TYPE, SPECIAL
from ...checkpoints.private import without_places
from ...checkpoints.safetensors_file import own_memory
from ...data.reading import pad_batch
from ...models.config import Wav2Vec2SummaryMixingConfig, layer_mixers
from ...models.encoder import chunk_draws
from ...modules.mixing import MIXERS
from ...system.errors import InputError
from ...system.files import write_together
from ...system.strict_json import to_json
from ...system.units import SAMPLE_RATE_HZ
from ...version import __version__
from ..bundle import PACKAGE, bundle
from ..check import Outputs
from .registry import Format, register_format

CODE = "export.hf_code."
ROOTS = (f"{CODE}modeling_summarymixing", f"{CODE}configuration_summarymixing")
MODELING = "modeling_summarymixing.py"
AUTO_MAP = {
    "AutoConfig": "configuration_summarymixing.SummaryMixingConfig",
    "AutoModel": "modeling_summarymixing.SummaryMixingModel",
    "AutoModelForCTC": "modeling_summarymixing.SummaryMixingForCTC",
}
# names of the first four outputs where pad_token_id is the blank, as transformers has it
SPECIAL_HERE = ("<pad>", "<s>", "</s>", "<unk>")


def hide_broken_torchaudio() -> None:
    """transformers imports torchaudio where it is, and ends where its library does not load (one for GPUs on a CPU)."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        sys.modules["torchaudio"] = None  # type: ignore[assignment]


@register_format("hf")
class HuggingFace(Format):
    """Weights, configuration, symbols, and code that needs neither fairseq nor this package."""

    packages: ClassVar[tuple[str, ...]] = ("transformers",)
    # equal to the bit, but for products of a few rows, which a CPU's library sums in another order now and then
    tolerance = 1e-6
    extra = "hf"
    optional: ClassVar[tuple[str, ...]] = ("vocab.json", "tokenizer_config.json", "summarymixing_*.py")

    def files(self) -> list[Path]:
        """See ``Format``."""
        return [self.destination / name for name in self._contents]

    def usage(self) -> str:
        """See ``Format``."""
        if self.source.fine_tuned is not None:
            return (
                "import soundfile\nfrom transformers import pipeline\n\n"
                'wave, rate = soundfile.read("clip.wav", dtype="float32")\n'
                'recogniser = pipeline("automatic-speech-recognition", ".", trust_remote_code=True)\n'
                'clip = {"raw": wave, "sampling_rate": rate}  # a path would need ffmpeg\n'
                'print(recogniser(clip, chunk_length_s=30, return_timestamps="word"))\n'
            )
        return (
            "import soundfile\nimport torch\nfrom transformers import AutoModel\n\n"
            'wave, _ = soundfile.read("clip.wav", dtype="float32")  # 16 kHz\n'
            'model = AutoModel.from_pretrained(".", trust_remote_code=True)\n'
            "print(model(torch.from_numpy(wave)[None], output_hidden_states=True).last_hidden_state.shape)\n"
        )

    def write(self) -> None:
        """See ``Format``."""
        write_together({self.destination / name: content for name, content in self._contents.items()})

    def outputs(self) -> Outputs:
        """See ``Format``."""
        hide_broken_torchaudio()
        from transformers import AutoModel, AutoModelForCTC

        auto, name = AutoModel, "last_hidden_state"
        if self.source.fine_tuned is not None:
            auto, name = AutoModelForCTC, "logits"
        model = auto.from_pretrained(str(self.destination.resolve()), trust_remote_code=True).eval()

        @torch.no_grad()
        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            source, padding = pad_batch(waveforms, torch.device("cpu"))
            found = model(source, (~padding).long())[name]
            lengths = self.source.our_encoder().output_lengths((~padding).sum(1)).tolist()
            return [clip[:length] for clip, length in zip(found, lengths)]

        return outputs

    @cached_property
    def _contents(self) -> dict[str, str | bytes]:
        """What is written, by name; the configuration comes last, and stands for all."""
        from safetensors.torch import save

        self.source.our_encoder()
        texts: dict[str, str | bytes] = dict(self._code())
        texts["model.safetensors"] = save(self._weights(), {"format": "pt"})
        processor = {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE_HZ,
            "padding_value": 0.0,
            "padding_side": "right",
            "do_normalize": False,  # the model does, where it was trained so
            "return_attention_mask": True,
        }
        if self.source.fine_tuned is not None:
            processor["processor_class"] = "Wav2Vec2Processor"
            vocabulary = {symbol: row for row, symbol in enumerate(self._symbols())}
            texts["vocab.json"] = to_json(vocabulary, indent=1)
            texts["tokenizer_config.json"] = _lines(
                {
                    "tokenizer_class": "Wav2Vec2CTCTokenizer",
                    "processor_class": "Wav2Vec2Processor",
                    **dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL_HERE)),
                    "word_delimiter_token": "|",
                    "do_lower_case": False,
                }
            )
        texts["preprocessor_config.json"] = _lines(processor)
        texts["config.json"] = _lines(self._config())
        return texts

    def _cfg(self) -> Any:
        return over_defaults(Wav2Vec2SummaryMixingConfig(), self.source.our_encoder().spec.config)

    def _bundled(self, roots: Sequence[str]) -> dict[str, str]:
        """Our modules, those of its mixers alone."""
        lines = ["from ...modules.mixing.registry import build_mixer"]
        for name in sorted({name for name, _ in layer_mixers(self._cfg())}):
            module = MIXERS[name].__module__
            if not module.startswith(f"{PACKAGE.name}."):
                raise InputError(f"the mixer {name} is a plug-in of {module}, whose code cannot go to the folder")
            inside = module.removeprefix(f"{PACKAGE.name}.")
            lines.append(f"from ...{inside} import {MIXERS[name].__name__}")
        exported = ["build_mixer", *(line.rsplit(" ", 1)[1] for line in lines[1:])]
        mixers = '"""The mixers of this model."""\n\n' + "\n".join(lines) + f"\n\n__all__ = {exported!r}\n"
        plain = (PACKAGE / "export" / "hf_code" / "block_mlp.py").read_text(encoding="utf-8")
        replaced = {f"{CODE}mixers": mixers, "modules.kernels.block_mlp": plain}
        header = f"Made by summarymixing-fairseq {__version__} of its own modules: change them there."
        return bundle(roots, replaced, header)

    def _code(self) -> dict[str, str]:
        texts = self._bundled(ROOTS)
        others = sorted(name[: -len(".py")] for name in texts if name != MODELING)
        texts[MODELING] += "\n# transformers 4 copies only what this file imports itself\n"
        texts[MODELING] += "".join(f"from .{name} import __name__ as _  # noqa: E402\n" for name in others)
        return texts

    def _weights(self) -> dict[str, Tensor]:
        encoder = {name: own_memory(weight) for name, weight in self.source.encoder_weights().items()}
        if self.source.fine_tuned is None:
            return encoder
        head = {HEAD + name: own_memory(one) for name, one in self.source.fine_tuned.head.state_dict().items()}
        return {**{BODY + name: weight for name, weight in encoder.items()}, **head}

    def _symbols(self) -> list[str]:
        """Names of the outputs."""
        assert self.source.fine_tuned is not None  # noqa: S101 # of a recogniser alone
        dictionary, symbols = self.source.fine_tuned.dictionary, self.source.fine_tuned.symbols
        if tuple(dictionary.symbols[:4]) != SPECIAL:
            raise InputError(f"{self.source.path}: its dictionary does not begin with {', '.join(SPECIAL)}")
        if symbols.post_process != "letter":
            raise InputError(
                f"{self.source.path} spells {symbols.unit}s: transformers' Wav2Vec2CTCTokenizer joins letters to words "
                "alone; its encoder can be exported from the pre-trained checkpoint"
            )
        return [*SPECIAL_HERE, *dictionary.symbols[4:]]

    def _model_config(self) -> dict[str, Any]:
        """Sizes of the encoder."""
        cfg, encoder = self._cfg(), self.source.our_encoder()
        draws = chunk_draws(cfg)
        return {
            "hidden_size": cfg.encoder_embed_dim,
            "intermediate_size": cfg.encoder_ffn_embed_dim,
            "mixers": [[name, asdict(options)] for name, options in layer_mixers(cfg)],
            "conv_kernel_size": cfg.depthwise_conv_kernel_size,
            "num_mel_bins": cfg.num_mel_bins,
            "frontend_channels": cfg.frontend_channels,
            "frontend_kernel_sizes": list(cfg.frontend_kernel_sizes),
            "frontend_strides": list(cfg.frontend_strides),
            "final_norm_eps": cfg.final_norm_eps,
            "normalize": encoder.spec.normalize,
            "streaming": draws and [list(draws.sizes), list(draws.left), draws.full_context],
            "positions": cfg.positions == "sinusoids",
            "hidden_dropout": cfg.dropout,
            "attention_dropout": cfg.attention_dropout,
            "activation_dropout": cfg.activation_dropout,
            "feat_proj_dropout": cfg.dropout_input,
            "layerdrop": cfg.encoder_layerdrop,
            "inputs_to_logits_ratio": encoder.min_samples(2) - encoder.min_samples(1),
        }

    def _config(self) -> dict[str, Any]:
        is_recogniser = self.source.fine_tuned is not None
        num_updates, cfg = num_updates_of(self.source.state), without_places(config_of(self.source.state))
        if is_recogniser:
            cfg["model"]["blank_weight"] = 0.0  # the head has it
        return {
            "architectures": ["SummaryMixingForCTC" if is_recogniser else "SummaryMixingModel"],
            "auto_map": AUTO_MAP,
            "model_type": MODEL_TYPE,
            **self._model_config(),
            **dict(zip(("pad_token_id", "bos_token_id", "eos_token_id"), range(3))),
            **({"vocab_size": len(self._symbols())} if is_recogniser else {}),
            "dtype": "float32",
            "checkpoint": {"cfg": cfg, "num_updates": num_updates},
        }


def _lines(value: dict[str, Any]) -> str:
    return to_json(value) + "\n"
