"""`--to onnx`: one graph from waveform to states or CTC scores, for onnxruntime 1.20 and later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from ...data.frame_times import FrameTimes
from ...data.reading import pad_batch
from ...models.stream import StreamStep
from ...modules.filterbank import ENERGY_FLOOR, N_FFT, LogMelFilterbank
from ...system.errors import InputError
from ..check import Outputs, check_clip
from ..graph import INPUTS, graph_of, no_graph, traced, traced_step
from ..int8 import quantise
from ..measures import listen, read_labelled, speed
from ..source import Source
from .registry import Format, register_format

# of onnxruntime 1.20, which reads graphs of an IR version up to 10
OPSET, IR_VERSION = 18, 10


class MatrixFilterbank(nn.Module):
    """``LogMelFilterbank`` with the Fourier transform as a matrix: a convolution over the waveform."""

    basis: Tensor
    filters: Tensor

    def __init__(self, filterbank: LogMelFilterbank):
        super().__init__()
        window, filters = filterbank.constants(torch.device("cpu"))
        self.window_samples, self.shift_samples = filterbank.window_samples, filterbank.shift_samples
        self.num_mel_bins = filterbank.num_mel_bins
        bins, samples = torch.arange(filters.size(0)).double()[:, None], torch.arange(len(window)).double()
        angle = 2 * math.pi / N_FFT * bins * samples
        basis = torch.cat([angle.cos(), -angle.sin()]) * window.double()  # (2 bins, window_samples)
        self.register_buffer("basis", basis.float()[:, None])
        self.register_buffer("filters", filters)

    output_lengths = LogMelFilterbank.output_lengths

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, num_samples) -> (B, T, num_mel_bins)."""
        spectrum = F.conv1d(waveform[:, None], self.basis, stride=self.shift_samples).transpose(1, 2)
        real, imaginary = spectrum.chunk(2, -1)  # (B, T, 2 bins) -> 2 x (B, T, bins)
        return ((real.square() + imaginary.square()) @ self.filters).clamp(min=ENERGY_FLOOR).log()


def save_onnx(
    program: ExportedProgram, source: Source, path: Path, inputs: Sequence[str], outputs: Sequence[str], **metadata: str
) -> None:
    """Write a traced graph as ONNX. Raises InputError where torch cannot."""
    try:
        model = torch.onnx.export(
            program, dynamo=True, verbose=False, opset_version=OPSET, input_names=inputs, output_names=outputs
        )
    except Exception as error:  # a dozen kinds, and all mean one thing
        raise no_graph(source, error) from None
    assert model is not None  # noqa: S101 # with dynamo it is there
    for part in (model.model.graph, *model.model.functions.values()):
        for node in part.all_nodes():
            node.metadata_props.clear()  # stack traces name this machine's folders
    model.model.ir_version = IR_VERSION
    model.model.metadata_props.update(metadata)
    model.save(str(path), external_data=False)


def session_of(path: Path) -> Any:
    """A file in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options)


@register_format("onnx")
class Onnx(Format):
    """model.onnx; of a recogniser with tokens.txt, the symbol of each score, and by `--int8` model.int8.onnx.

    Of a model that streams stream.onnx too, one step of it: chunk, frames before and state -> frames and state.
    """

    packages = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"
    tolerance = 1e-4
    takes_int8 = True
    optional = ("tokens.txt", "model.int8.onnx", "stream.onnx")

    def files(self) -> list[Path]:
        """See ``Format``."""
        self.source.our_encoder()
        if self.int8 is not None and self.source.fine_tuned is None:
            raise InputError(f"--int8: {self.source.path} is no recogniser: what it would lose has no error rate")
        tokens = [] if self.source.fine_tuned is None else ["tokens.txt"]
        int8 = [] if self.int8 is None else ["model.int8.onnx"]
        stream = ["stream.onnx"] if self._streams else []
        return [self.destination / name for name in ("model.onnx", *tokens, *int8, *stream)]

    def usage(self) -> str:
        """See ``Format``."""
        return (
            "import numpy\nimport onnxruntime\nimport soundfile\n\n"
            'wave, _ = soundfile.read("clip.wav", dtype="float32")  # 16 kHz\n'
            'session = onnxruntime.InferenceSession("model.onnx")\n'
            'inputs = {"waveform": wave[None], "num_samples": numpy.array([len(wave)])}\n'
            f'print(session.run(["{self._output}"], inputs)[0].shape)\n'
        )

    def write(self) -> None:
        """See ``Format``."""
        self.destination.mkdir(parents=True, exist_ok=True)
        if self.int8 is not None and self.source.fine_tuned is not None:
            self._labelled = read_labelled(self.int8, self.source.fine_tuned)  # first, as all else takes longer
        graph = graph_of(self.source)
        model = graph.model
        model.feature_extractor.filterbank = MatrixFilterbank(model.feature_extractor.filterbank)
        path = self.destination / "model.onnx"
        save_onnx(traced(graph, self.source), self.source, path, INPUTS, graph.names)
        if self._streams:
            step = StreamStep(model, graph.head).eval()
            states = range(len(step.first_state()))
            inputs = ("waveform", "heard", *(f"state_{n}" for n in states))
            outputs = (self._output, *(f"next_{n}" for n in states))
            path = self.destination / "stream.onnx"
            save_onnx(traced_step(step, self.source), self.source, path, inputs, outputs)
        if self.source.fine_tuned is not None:
            symbols = self.source.fine_tuned.dictionary.symbols
            text = "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))
            (self.destination / "tokens.txt").write_text(text, encoding="utf-8")
        if self.int8 is not None:
            quantise(self.destination / "model.onnx", self.destination / "model.int8.onnx")

    def outputs(self) -> Outputs:
        """See ``Format``."""
        return self._outputs_of(self.files()[0])

    def forms(self) -> dict[Path, Outputs]:
        """See ``Format``."""
        whole = ("model.onnx", "model.int8.onnx")
        return {path: self._outputs_of(path) for path in self.files() if path.name in whole}

    def check(self) -> str:
        """As of ``Format``, and how long 10 s of audio take; with `--int8` the error rates of both files."""
        found = super().check()
        self.lines.append(speed({"onnxruntime": self.outputs(), "torch": self.source.outputs}))
        if self._streams:
            self.lines.append(self._check_stream())
        if self.int8 is not None:
            clips = f"{len(self._labelled.waveforms)} clips of {self.int8.path.name}, {self._labelled.seconds:.0f} s"
            for path, outputs in self.forms().items():
                heard = listen(outputs, self._labelled, self.source)
                rate, value = self._labelled.error_rate(heard.texts)
                self.lines.append(
                    f"{path.name}: {path.stat().st_size:,} bytes, {rate} {100 * value:.2f} %, real-time factor "
                    f"{heard.real_time_factor:.4f} ({clips})"
                )
        return found

    @torch.inference_mode()
    def _check_stream(self) -> str:
        """Steps of 10 s in chunks of several lengths, beside the model's. Raises InputError where they differ."""
        graph, session = graph_of(self.source), session_of(self.destination / "stream.onnx")
        step = StreamStep(graph.model, graph.head).eval()
        frontend, state = step.feature_extractor, step.first_state()
        shift = FrameTimes.of(frontend).shift_samples
        theirs, worst, heard = [one.numpy() for one in state], 0.0, 0
        waveform = torch.from_numpy(check_clip(10.0))[None]
        for num_frames in (32, 8, 20, 1, 32, 200):
            samples = waveform[:, heard * shift :][:, : frontend.min_samples(num_frames)]
            wanted, *state = step(samples, torch.tensor(heard), *state)
            given = dict(zip([one.name for one in session.get_inputs()], [samples.numpy(), np.array(heard), *theirs]))
            found, *theirs = session.run(None, given)
            largest = max(1.0, float(wanted.abs().max()))  # as ``compare`` has it
            worst, heard = max(worst, float(np.abs(found - wanted.numpy()).max()) / largest), heard + num_frames
        if not worst <= self.tolerance:
            raise InputError(f"stream.onnx differs from the checkpoint by {worst:.1e}")
        return f"stream.onnx: checked on chunks of 1 to 200 frames, differs by {worst:.1e} at most"

    @property
    def _streams(self) -> bool:
        return bool(self.source.our_encoder().spec.config.get("streaming"))

    @property
    def _output(self) -> str:
        return "output" if self.source.fine_tuned is None else "logits"

    def _outputs_of(self, path: Path) -> Outputs:
        session = session_of(path)

        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            source, padding = pad_batch(waveforms, torch.device("cpu"))
            inputs = dict(zip(INPUTS, (source.numpy(), (~padding).sum(1).numpy())))
            found, lengths = session.run([self._output, "num_frames"], inputs)
            return [torch.from_numpy(clip[:length]) for clip, length in zip(found, lengths)]

        return outputs
