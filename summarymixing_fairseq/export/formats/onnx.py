"""`--to onnx`: one graph from waveform to states or CTC scores, for onnxruntime 1.20 and later."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoints.encoders import load_encoder
from ...data.reading import pad_batch
from ...modules.feedforward import FeedForward
from ...modules.filterbank import ENERGY_FLOOR, LogMelFilterbank, padding_mask_from_lengths
from ...modules.normalise import normalise_waveform
from ...system.errors import InputError
from ..check import Outputs, check_clip
from .registry import Format, register_format

OPSET = 18
# runs of 10 s, of which the median is taken
RUNS = 5


class MatrixFilterbank(nn.Module):
    """``LogMelFilterbank`` with the Fourier transform as a matrix: a convolution over the waveform."""

    basis: Tensor
    filters: Tensor

    def __init__(self, filterbank: LogMelFilterbank):
        super().__init__()
        window, filters = filterbank.constants(torch.device("cpu"))
        self.window_samples, self.shift_samples = filterbank.window_samples, filterbank.shift_samples
        bins, samples = torch.arange(filters.size(0)).double()[:, None], torch.arange(len(window)).double()
        angle = 2 * math.pi / filterbank.n_fft * bins * samples
        basis = torch.cat([angle.cos(), -angle.sin()]) * window.double()  # (2 bins, window_samples)
        self.register_buffer("basis", basis.float()[:, None])
        self.register_buffer("filters", filters)

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames."""
        return ((num_samples - self.window_samples) // self.shift_samples + 1).clamp(min=0)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, num_samples) -> (B, T, num_mel_bins)."""
        spectrum = F.conv1d(waveform[:, None], self.basis, stride=self.shift_samples).transpose(1, 2)
        real, imaginary = spectrum.chunk(2, -1)  # (B, T, 2 bins) -> 2 x (B, T, bins)
        return ((real.square() + imaginary.square()) @ self.filters).clamp(min=ENERGY_FLOOR).log()


class Graph(nn.Module):
    """What the file computes: (B, num_samples) and (B,) valid samples -> outputs by name, and (B,) frames."""

    def __init__(self, model: nn.Module, head: nn.Module | None, normalize: bool):
        super().__init__()
        self.model, self.head, self.normalize = model, head, normalize

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, ...]:
        """Scores (B, T, symbols) with a head, else the output and all states (B, T, D); then the frames."""
        model: Any = self.model
        padding = padding_mask_from_lengths(num_samples, waveform.size(1))
        waveform = waveform.masked_fill(padding, 0.0)
        if self.normalize:
            waveform = normalise_waveform(waveform, padding)
        features = model.feature_extractor(waveform, num_samples)
        x = model.post_extract_proj(features.latents)
        frame_padding = padding_mask_from_lengths(features.lengths, x.size(1))
        x, states = model.encoder(x, frame_padding)
        outputs = [x, *states] if self.head is None else [self.head(x)]
        return (*outputs, features.lengths)


def _seconds(outputs: Outputs, clips: Sequence[np.ndarray]) -> float:
    """Median time of a run, after one to warm up."""
    outputs(clips)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        outputs(clips)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


@register_format("onnx")
class Onnx(Format):
    """model.onnx; of a recogniser with tokens.txt, the symbol of each score."""

    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    tolerance = 1e-4

    def files(self) -> list[Path]:
        """See ``Format``."""
        self.source.our_encoder()
        tokens = [] if self.source.fine_tuned is None else [self.destination / "tokens.txt"]
        return [self.destination / "model.onnx", *tokens]

    def usage(self) -> str:
        """See ``Format``."""
        name = "output" if self.source.fine_tuned is None else "logits"
        return (
            "import numpy\nimport onnxruntime\nimport soundfile\n\n"
            'wave, _ = soundfile.read("clip.wav", dtype="float32")  # 16 kHz\n'
            'session = onnxruntime.InferenceSession("model.onnx")\n'
            'inputs = {"waveform": wave[None], "num_samples": numpy.array([len(wave)])}\n'
            f'print(session.run(["{name}"], inputs)[0].shape)\n'
        )

    def write(self) -> None:
        """See ``Format``."""
        self.destination.mkdir(parents=True, exist_ok=True)
        graph, names = self._graph()
        waveform, padding = pad_batch([check_clip(1.0), check_clip(0.7)], torch.device("cpu"))
        batch, samples = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
        self._save(
            graph,
            {"waveform": waveform, "num_samples": (~padding).sum(1)},
            ({0: batch, 1: samples}, {0: batch}),
            [*names, "num_frames"],
        )
        if self.source.fine_tuned is not None:
            symbols = self.source.fine_tuned.dictionary.symbols
            text = "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))
            (self.destination / "tokens.txt").write_text(text, encoding="utf-8")

    def _save(
        self,
        graph: nn.Module,
        inputs: dict[str, Tensor],
        free: Sequence[Any],
        outputs: Sequence[str],
        **metadata: str,
    ) -> None:
        """Write model.onnx; ``free``: the axes of each input that may have any size."""
        try:
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(free),
            )
        except Exception as error:  # a dozen kinds, and all mean one thing
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{self.source.path}: torch cannot make an ONNX graph of it: {reason[:300]}") from None
        assert program is not None  # noqa: S101 # with dynamo it is there
        for part in (program.model.graph, *program.model.functions.values()):
            for node in part.all_nodes():
                node.metadata_props.clear()  # stack traces name this machine's folders
        program.model.metadata_props.update(metadata)
        program.save(str(self.destination / "model.onnx"), external_data=False)

    def outputs(self) -> Outputs:
        """See ``Format``."""
        session = self._session()
        name = "output" if self.source.fine_tuned is None else "logits"

        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            source, padding = pad_batch(waveforms, torch.device("cpu"))
            inputs = {"waveform": source.numpy(), "num_samples": (~padding).sum(1).numpy()}
            found, lengths = session.run([name, "num_frames"], inputs)
            return [torch.from_numpy(clip[:length]) for clip, length in zip(found, lengths)]

        return outputs

    def _session(self) -> Any:
        """model.onnx in onnxruntime."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(str(self.destination / "model.onnx"), options)

    def check(self) -> str:
        """As of ``Format``, and how long 10 s of audio take."""
        found = super().check()
        clip, outputs = [check_clip(10.0)], self.outputs()
        factors = [_seconds(outputs, clip) / 10, _seconds(self.source.outputs, clip) / 10]
        self.lines.append(
            f"real-time factor of 10 s on {torch.get_num_threads()} threads: {factors[0]:.4f}, torch {factors[1]:.4f}"
        )
        return found

    def _graph(self) -> tuple[Graph, list[str]]:
        """What is exported, and the names of its outputs."""
        encoder: Any = load_encoder(self.source.path, with_output=True)  # another one, to be changed
        model, fine_tuned = encoder.model, self.source.fine_tuned
        model.encoder.layer_norm = encoder.final_norm
        head = None if fine_tuned is None else fine_tuned.model.w2v_encoder.proj
        graph = Graph(model, head, encoder.spec.normalize).eval()
        for module in model.modules():
            if isinstance(module, FeedForward):
                # a loop over parts would fix the length of the graph
                module.forward = module.whole  # type: ignore[method-assign]
        model.feature_extractor.filterbank = MatrixFilterbank(model.feature_extractor.filterbank)
        names = ["output", *(f"state_{n}" for n in range(encoder.num_states))]
        return graph, names if head is None else ["logits"]
