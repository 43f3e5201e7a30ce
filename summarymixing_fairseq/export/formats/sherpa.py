"""`--to sherpa`: a recogniser for sherpa-onnx, whose programs run on phones, in browsers and in a dozen languages.

sherpa-onnx takes encoder and CTC scores as one graph by ``from_omnilingual_asr_ctc``. It brings each waveform to mean 0
and variance 1 itself, and writes the symbol of each frame's best score, repeats merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.fine_tuned import FineTuned
from ...checkpoints.recogniser import load_recogniser
from ...data.ctc_path import BLANK
from ...modules.normalise import NORM_EPS, normalise_waveform
from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from ..check import SHORT, Outputs, Recognised, check_clip, compare
from ..graph import Graph, graph_of, traced
from .onnx import IR_VERSION, OPSET, MatrixFilterbank, Onnx, save_onnx, session_of
from .registry import Format, register_format

BLANK_NAME = "<blk>"
# what sherpa-onnx writes as a space, at the beginning of a symbol alone
SPACE = "\u2581"
# score of what is never heard
NEVER = -1e4
# clips whose texts are compared
SECONDS = (0.05, SHORT, 1.0, 5.0)
MODEL_TYPE = {"model_type": "omnilingual-asr"}


def on_blank(scores: Tensor, silent: Sequence[int]) -> Tensor:
    """Scores (..., symbols): the blank has the largest of all that are not written, its own too, these NEVER."""
    columns = list(scores.unbind(-1))
    for symbol in silent:
        columns[symbol] = torch.full_like(columns[symbol], NEVER)
    columns[BLANK] = scores[..., list(silent)].amax(-1)
    return torch.stack(columns, -1)


class NormalisedGraph(nn.Module):
    """What the file computes: (1, num_samples) of mean 0 and variance 1 -> scores (1, T, symbols).

    Args:
        scorer: scores of a waveform, which it does not normalise.
        normalize: whether the model takes waveforms normalised.
        silent: see ``on_blank``.
        min_samples: of one frame. A shorter clip gives one of blank, as sherpa-onnx ends with an error without any.
    """

    def __init__(self, scorer: Graph, normalize: bool, silent: Sequence[int], min_samples: int):
        super().__init__()
        self.scorer, self.normalize, self.silent, self.min_samples = scorer, normalize, silent, min_samples

    def forward(self, waveform: Tensor) -> Tensor:
        """See above."""
        if not self.normalize:
            # Divided by sqrt(v + eps), variance v became v / (v + eps): what is missing of 1 is eps / (v + eps). Only
            # the mean cannot be put back.
            missing = (1 - waveform.double().square().mean()).clamp(min=NORM_EPS)
            waveform = waveform * (NORM_EPS / missing).sqrt().float()
        num_samples: Any = waveform.size(1)
        lengths = torch.zeros_like(waveform[:, 0], dtype=torch.long) + num_samples
        waveform = F.pad(waveform, (0, torch.sym_max(self.min_samples - num_samples, 0)))
        scores, num_frames = self.scorer(waveform, lengths)
        scores = on_blank(scores, self.silent)
        is_blank = torch.arange(scores.size(-1)) == BLANK
        return scores.masked_fill((num_frames == 0)[:, None, None] & is_blank, -NEVER)


@register_format("sherpa")
class Sherpa(Format):
    """model.onnx and tokens.txt of a recogniser."""

    packages = (*Onnx.packages, "sherpa_onnx")
    extra = "sherpa"
    # onnxruntime sums over frames in float32: 1e-4 at a minute, 1e-3 at ten
    tolerance = 5e-3

    def files(self) -> list[Path]:
        """See ``Format``."""
        encoder = self.source.our_encoder()
        if self.source.fine_tuned is None:
            raise InputError(f"{self.source.path} ({encoder.describe()}) is no recogniser: fine-tune it with CTC first")
        self._tokens()
        return [self.destination / "model.onnx", self.destination / "tokens.txt"]

    def usage(self) -> str:
        """See ``Format``."""
        return (
            "import soundfile\nfrom sherpa_onnx import OfflineRecognizer\n\n"
            'wave, rate = soundfile.read("clip.wav", dtype="float32")\n'
            'recogniser = OfflineRecognizer.from_omnilingual_asr_ctc("model.onnx", "tokens.txt")\n'
            "stream = recogniser.create_stream()\n"
            "stream.accept_waveform(rate, wave)\n"
            "recogniser.decode_stream(stream)\n"
            "print(stream.result.text, stream.result.tokens, stream.result.timestamps)\n"
        )

    def write(self) -> None:
        """See ``Format``."""
        self.destination.mkdir(parents=True, exist_ok=True)
        graph = graph_of(self.source)
        model = graph.model
        model.feature_extractor.filterbank = MatrixFilterbank(model.feature_extractor.filterbank)
        normalize, graph.normalize = graph.normalize, False
        min_samples = self.source.our_encoder().min_samples()
        program = traced(NormalisedGraph(graph, normalize, self._silent(), min_samples).eval(), self.source, alone=True)
        path = self.destination / "model.onnx"
        save_onnx(program, self.source, path, ["waveform"], ["logits"], **MODEL_TYPE)
        lines = [f"{token} {number}\n" for number, token in enumerate(self._tokens())]
        (self.destination / "tokens.txt").write_text("".join(lines), encoding="utf-8")

    def outputs(self) -> Outputs:
        """Of each clip alone, normalised as by sherpa-onnx: scores of what is written, and of the blank."""
        spoken, session = self._spoken(), session_of(self.destination / "model.onnx")

        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            given = [normalise_waveform(torch.from_numpy(waveform)[None], None) for waveform in waveforms]
            found = [session.run(None, {"waveform": one.numpy()})[0][0] for one in given]
            return [torch.from_numpy(scores)[:, [BLANK, *spoken]] for scores in found]

        return outputs

    def forms(self) -> dict[Path, Recognised]:
        """See ``Format``: the texts that sherpa-onnx writes."""
        path = self.destination / "model.onnx"
        hear = self._hearing(path)
        return {path: lambda waveforms: [hear(waveform).text.strip() for waveform in waveforms]}

    def check(self) -> str:
        """Scores beside the checkpoint's, and what sherpa-onnx itself writes: each symbol, and the text of clips."""
        silent, columns = self._silent(), [BLANK, *self._spoken()]

        def wanted(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            return [on_blank(scores, silent)[:, columns] for scores in self.source.outputs(waveforms)]

        found = compare(self.source, self.outputs(), self.tolerance, wanted)
        self._check_symbols()
        ours, hear = load_recogniser(self.source.path), self._hearing(self.destination / "model.onnx")
        for seconds in SECONDS:
            clip = check_clip(seconds)
            wanted_text, text = ours.transcribe(clip).text, hear(clip).text
            if text.split() != wanted_text.split():
                raise InputError(
                    f"sherpa-onnx hears {text!r} in {seconds:g} s of noise, the checkpoint {wanted_text!r}"
                )
        if not self._recogniser().normalize:
            self.lines.append(
                "the model takes waveforms as they are (task.normalize=false), and sherpa-onnx takes the mean of each "
                "away: the text of a clip with an offset may differ"
            )
        return f"{found}; sherpa-onnx writes the same text"

    def _recogniser(self) -> FineTuned:
        assert self.source.fine_tuned is not None  # noqa: S101 # `files` has refused others
        return self.source.fine_tuned

    def _silent(self) -> list[int]:
        """Symbols that are never written: see ``GreedyDecoder``."""
        dictionary = self._recogniser().dictionary
        return [BLANK, dictionary.pad(), dictionary.eos()]

    def _spoken(self) -> list[int]:
        """The other symbols."""
        silent = self._silent()
        return [number for number in range(len(self._recogniser().dictionary)) if number not in silent]

    def _texts(self) -> list[str]:
        """What each symbol adds to the text."""
        names, silent = self._recogniser().dictionary.symbols, self._silent()
        texts = [self._recogniser().symbols.written(name) for name in names]
        if all(text.endswith(" ") for number, text in enumerate(texts) if number not in silent):
            texts = [f" {text.strip()}" for text in texts]  # each is a unit of its own
        return [names[number] if number in silent else text for number, text in enumerate(texts)]

    def _tokens(self) -> list[str]:
        """The same as tokens.txt has them, without spaces."""
        tokens = [BLANK_NAME]
        for name, text in list(zip(self._recogniser().dictionary.symbols, self._texts()))[1:]:
            tokens.append(SPACE + text.lstrip() if text[:1].isspace() else text)
            if tokens[-1].split() != [tokens[-1]]:
                raise InputError(
                    f"{self.source.path}: its symbol {name!r} adds {text!r} to the text, and sherpa-onnx has spaces at "
                    "the beginning of a symbol alone"
                )
        return tokens

    def _check_symbols(self) -> None:
        """Let sherpa-onnx write every symbol, by a graph that gives one after the other whatever it hears."""
        from onnx import TensorProto, helper, numpy_helper, save

        texts, spoken = self._texts(), self._spoken()
        path = np.stack([spoken, np.full(len(spoken), BLANK)], 1).ravel()  # a blank after each
        scores = numpy_helper.from_array(np.eye(len(texts), dtype=np.float32)[path][None], "scores")
        graph = helper.make_graph(
            [helper.make_node("Identity", ["scores"], ["logits"])],
            "symbols",
            [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [1, "samples"])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(path), len(texts)])],
            [scores],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        helper.set_model_props(model, MODEL_TYPE)
        file = self.destination / "symbols.onnx"
        save(model, str(file))
        written = self._hearing(file)(check_clip(1.0)).tokens
        file.unlink()
        for number, text in zip(spoken, [*written, *[None] * len(spoken)]):
            if text != texts[number]:
                name = self._recogniser().dictionary.symbols[number]
                raise InputError(
                    f"{self.source.path}: sherpa-onnx does not write its symbol {name!r} as {texts[number]!r}"
                )

    def _hearing(self, model: Path) -> Callable[[np.ndarray], Any]:
        """What sherpa-onnx finds in waveforms by a graph and our tokens.txt: text, tokens, timestamps."""
        from sherpa_onnx import OfflineRecognizer

        recogniser = OfflineRecognizer.from_omnilingual_asr_ctc(str(model), str(self.destination / "tokens.txt"))

        def hear(waveform: np.ndarray) -> Any:
            stream = recogniser.create_stream()
            stream.accept_waveform(SAMPLE_RATE_HZ, waveform)
            recogniser.decode_stream(stream)
            return stream.result

        return hear
