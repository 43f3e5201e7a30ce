"""`--to safetensors`: one file that every command, ``load_model`` and fine-tuning take in place of the checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from ...checkpoints.contents import config_of, sections
from ...checkpoints.encoders import load_encoder
from ...checkpoints.safetensors_file import write_safetensors
from ...checkpoints.untrusted_file import load_safely
from ...system.errors import InputError
from ..check import Outputs
from ..source import load_source
from .registry import Format, register_format


@register_format("safetensors")
class Safetensors(Format):
    """FILE.safetensors, with FILE.md and FILE.use.py beside it."""

    def files(self) -> list[Path]:
        """See ``Format``."""
        if self.destination.suffix != ".safetensors":
            raise InputError(f"{self.destination}: name it FILE.safetensors, by which other commands know its format")
        return [self.destination]

    def card(self) -> Path:
        """See ``Format``."""
        return self.destination.with_suffix(".md")

    def use(self) -> Path:
        """See ``Format``."""
        return self.destination.with_suffix(".use.py")

    def usage(self) -> str:
        """See ``Format``."""
        name = self.destination.name
        if self.source.fine_tuned is not None:
            return (
                "from summarymixing_fairseq import load_recogniser\n\n"
                f'recogniser = load_recogniser("{name}")\nprint(recogniser.transcribe("clip.wav").text)\n'
            )
        if self.source.encoder is None:
            imported = "from summarymixing_fairseq.probing.checkpoint import load_probe"
            return f'{imported}\n\nprint(load_probe("{name}").model)\n'
        return (
            "import soundfile\n\nfrom summarymixing_fairseq import load_model\n\n"
            'wave, rate = soundfile.read("clip.wav", dtype="float32")\n'
            f'print(load_model("{name}").extract(wave, sample_rate_hz=rate).shape)\n'
        )

    def write(self) -> None:
        """See ``Format``."""
        write_safetensors(self.source.state, self.destination)

    def check(self) -> str:
        """Weights and specification as they are read again: what is equal in them gives equal outputs."""
        state = load_safely(self.destination)
        wanted, found = self.source.state["model"], state["model"]
        if sorted(found) != sorted(wanted) or not all(torch.equal(found[name], wanted[name]) for name in wanted):
            raise InputError(f"{self.destination} does not hold the weights of {self.source.path}")
        if self.source.encoder is None:
            same = sections(config_of(state))[0]["_name"] == self.source.name
        else:
            same = load_encoder(self.destination, with_output=True).spec == self.source.encoder.spec
        if not same:
            raise InputError(f"{self.destination} describes another model than {self.source.path}")
        return "checked: read again, weights and specification are the checkpoint's, bit for bit"

    def outputs(self) -> Outputs:
        """See ``Format``."""
        return load_source(self.destination).outputs
