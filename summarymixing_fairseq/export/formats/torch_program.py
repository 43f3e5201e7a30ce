"""`--to torch`: the graph by torch.export, which torch alone loads; compiled too, where a C++ compiler is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...data.reading import pad_batch
from ...system.errors import InputError, reason_of
from ..check import Outputs, compare
from ..graph import graph_of, traced
from ..measures import speed
from .registry import Format, register_format

PROGRAM, COMPILED = "model.pt2", "model.aot.pt2"


@register_format("torch")
class TorchProgram(Format):
    """model.pt2, and model.aot.pt2, which AOTInductor has compiled for this machine's kind of processor."""

    tolerance = 1e-5
    optional = (COMPILED,)

    def files(self) -> list[Path]:
        """See ``Format``."""
        self.source.our_encoder()
        return [self.destination / name for name in (PROGRAM, *([COMPILED] if _compiler() else []))]

    def usage(self) -> str:
        """See ``Format``."""
        return (
            "import soundfile\nimport torch\n\n"
            'wave, _ = soundfile.read("clip.wav", dtype="float32")  # 16 kHz\n'
            f'model = torch.export.load("{PROGRAM}").module()\n'
            "print(model(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))[0].shape)\n"
        )

    def write(self) -> None:
        """See ``Format``."""
        self.destination.mkdir(parents=True, exist_ok=True)
        program = traced(graph_of(self.source), self.source)
        torch.export.save(program, self.destination / PROGRAM)
        if _compiler() is None:
            self.lines.append(f"no C++ compiler (g++, or CXX): {COMPILED} is not written; install one, export again")
            return
        try:
            with torch.no_grad():
                torch._inductor.aoti_compile_and_package(program, package_path=str(self.destination / COMPILED))
        except Exception as error:  # a dozen kinds, and all mean one thing
            raise InputError(f"{self.source.path}: AOTInductor cannot compile it: {reason_of(error)}") from None

    def outputs(self) -> Outputs:
        """See ``Format``."""
        return self._outputs_of(torch.export.load(self.destination / PROGRAM).module())

    def forms(self) -> dict[Path, Outputs]:
        """See ``Format``."""
        program, *compiled = self.files()
        load = torch._inductor.aoti_load_package
        return {program: self.outputs(), **{path: self._outputs_of(load(str(path))) for path in compiled}}

    def check(self) -> str:
        """As of ``Format``, of both files, and how long 10 s of audio take."""
        forms = {path.name: outputs for path, outputs in self.forms().items()}
        # compiled sums over frames are float32 in another order, as ONNX's
        tolerances = {PROGRAM: self.tolerance, COMPILED: 1e-4}
        found = "; ".join(f"{name}: {compare(self.source, run, tolerances[name])}" for name, run in forms.items())
        self.lines.append(speed({**forms, "checkpoint": self.source.outputs}))
        return found

    def _outputs_of(self, model: Callable[..., Sequence[Tensor]]) -> Outputs:
        @torch.no_grad()
        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            source, padding = pad_batch(waveforms, torch.device("cpu"))
            found = model(source, (~padding).sum(1))
            return [clip[:length] for clip, length in zip(found[0], found[-1].tolist())]

        return outputs


def _compiler() -> str | None:
    """The C++ compiler that torch takes."""
    return shutil.which(os.environ.get("CXX", "g++"))
