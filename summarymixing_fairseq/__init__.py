"""wav2vec 2.0 with SummaryMixing: a user-dir of fairseq's.

Importing this package registers its models and tasks with fairseq, so that ``common.user_dir``, ``--user-dir`` and a
plain ``import summarymixing_fairseq`` all do.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .encoder import SpeechEncoder, load_model

__all__ = ["SpeechEncoder", "__version__", "load_model", "register"]


# where fairscale is installed fairseq imports it, and it warns of old names in torch: not our users' matter
warnings.filterwarnings("ignore", category=FutureWarning, module=r"fairscale\.")


def register() -> None:
    """Make fairseq know our models, tasks and optimizer. Doing it twice is harmless."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    from .criterions import classification  # noqa: F401
    from .models import ssl_probe, wav2vec2_summarymixing  # noqa: F401
    from .optim import fused_adamw, new_bob  # noqa: F401
    from .registration import allow_fairseq_dictionary
    from .tasks import (  # noqa: F401
        probe_classification,
        probe_recognition,
        probe_verification,
        speech_finetuning,
        speech_pretraining,
    )
    from .training import checkpoints, processes, trainer_hooks

    allow_fairseq_dictionary()
    checkpoints.install()
    processes.install()
    trainer_hooks.install()
    # One of the models of fairseq sets the root logger to DEBUG at import: every library's debug lines would follow
    root.setLevel(level)
    root.handlers[:] = handlers


def __getattr__(name: str) -> Any:
    if name in ("SpeechEncoder", "load_model"):
        from . import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_console_script() -> bool:
    """Whether the `summarymixing` command (or `python -m`) is starting: it registers once it has work to do.

    torch and fairseq take seconds to import, which `summarymixing --help` should not cost.
    """
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("summarymixing", "-m")


if not _is_console_script():
    register()
