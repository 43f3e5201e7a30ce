"""`--to s3prl`: the encoder as an upstream of s3prl, for SUPERB's tasks."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..check import Outputs, Recognised, compare
from .hf import HuggingFace
from .registry import register_format

CODE = "export.s3prl_code."


@register_format("s3prl")
class S3prl(HuggingFace):
    """Weights, and code that needs torch alone; of a recogniser the encoder."""

    packages: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ("summarymixing_*.py",)

    def usage(self) -> str:
        """See ``Format``."""
        return (
            "import sys\nfrom importlib import import_module, util\nfrom pathlib import Path\n\n"
            "import soundfile\nimport torch\n\n"
            "folder = Path(__file__).resolve().parent\n"
            "spec = util.spec_from_loader('upstream', None, is_package=True)  # whatever the folder is called\n"
            "spec.submodule_search_locations.append(str(folder))\n"
            "sys.modules['upstream'] = util.module_from_spec(spec)\n"
            'upstream = import_module("upstream.hubconf").summarymixing().eval()\n'
            'wave, _ = soundfile.read(folder / "clip.wav", dtype="float32")  # 16 kHz\n'
            'print([state.shape for state in upstream([torch.from_numpy(wave)])["hidden_states"]])\n'
        )

    def check(self) -> str:
        """See ``Format``: the encoder's output."""
        return compare(self.source, self.outputs(), self.tolerance, self.source.our_encoder().extract_batch)

    def outputs(self) -> Outputs:
        """See ``Format``."""
        upstream: Any = load_hubconf(self.destination).summarymixing().eval()

        @torch.no_grad()
        def outputs(waveforms: Sequence[np.ndarray]) -> list[Tensor]:
            found = upstream([torch.from_numpy(waveform) for waveform in waveforms])["last_hidden_state"]
            lengths = self.source.our_encoder().output_lengths(torch.tensor([len(one) for one in waveforms]))
            return [clip[:length] for clip, length in zip(found, lengths.tolist())]

        return outputs

    def forms(self) -> dict[Path, Recognised]:
        """See ``Format``."""
        return {}

    @cached_property
    def _contents(self) -> dict[str, str | bytes]:
        """What is written, by name; the weights come last, and stand for all."""
        config = {**self._model_config(), "layerdrop": 0.0}  # s3prl counts on every layer
        model = {name: weight for name, weight in self.source.encoder_weights().items() if name != "mask_emb"}
        weights = io.BytesIO()
        torch.save({"config": config, "model": {name: weight.clone() for name, weight in model.items()}}, weights)
        texts: dict[str, str | bytes] = dict(self._bundled((f"{CODE}hubconf", f"{CODE}expert")))
        texts["__init__.py"] = ""
        texts["weights.pt"] = weights.getvalue()
        return texts


def load_hubconf(folder: Path) -> ModuleType:
    """The hubconf of a folder, which need not be on the path; its code is run."""
    name = f"summarymixing_upstream_{abs(hash(folder.resolve()))}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # noqa: S101 # of a .py file they are there
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{name}.hubconf")
    finally:
        for module in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[module]
