"""Everything that fairseq has to know of, wherever it lies.

fairseq imports each file of the folders ``tasks`` and ``models`` when it loads the user-dir, and so this one.
"""

from __future__ import annotations

import importlib
import logging
import warnings

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
    # where fairscale is installed fairseq imports it, and it warns of old names in torch
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"fairscale\.")
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    package = __name__.partition(".")[0]
    for name in PLUGINS:
        importlib.import_module(f"{package}.{name}")
    importlib.import_module(f"{package}.training.patches").install()
    # One of fairseq's models sets the root logger to DEBUG at import: every library's debug lines would follow.
    root.setLevel(level)
    root.handlers[:] = handlers


_import_all()
