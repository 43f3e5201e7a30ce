"""Everything that fairseq has to know of, wherever it lies.

fairseq imports each file of the folders ``tasks`` and ``models`` when it loads the user-dir, and so this one.
"""

from __future__ import annotations

import importlib

from ..system.quiet import root_logger_kept

# Modules that register something with fairseq as they are imported.
PLUGINS = (
    "models.wav2vec2_summarymixing",
    "tasks.speech_pretraining",
    "tasks.speech_finetuning",
    "training.criterion",
    "training.optim.fused_adamw",
    "training.optim.new_bob",
    "probing.model",
    "probing.criterion",
    "probing.tasks.recognition",
    "probing.tasks.classification",
    "probing.tasks.verification",
)


def _import_all() -> None:
    package = __name__.partition(".")[0]
    with root_logger_kept():
        for name in PLUGINS:
            importlib.import_module(f"{package}.{name}")
        importlib.import_module(f"{package}.training.patches").install()


_import_all()
