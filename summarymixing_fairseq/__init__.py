"""wav2vec 2.0 with SummaryMixing: a user-dir of fairseq's.

Importing this package imports neither torch nor fairseq and changes nothing. fairseq registers the models and tasks
itself, by ``common.user_dir`` or ``--user-dir``; ``load_model``, ``load_recogniser`` and the commands do so on first
use; for others there is ``register``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .checkpoints.encoders import Encoder, load_model
    from .checkpoints.recogniser import Recogniser, load_recogniser
    from .checkpoints.streaming import StreamingRecogniser, load_streaming_recogniser

__all__ = [
    "Encoder",
    "Recogniser",
    "StreamingRecogniser",
    "__version__",
    "load_model",
    "load_recogniser",
    "load_streaming_recogniser",
    "register",
]


def register() -> None:
    """Make fairseq know our models, tasks, criterions, optimizers and schedules. Doing it twice is harmless."""
    from importlib import import_module

    import_module(f"{__name__}.tasks.plugins")


_MODULES = {
    "Encoder": "encoders",
    "load_model": "encoders",
    "Recogniser": "recogniser",
    "load_recogniser": "recogniser",
    "StreamingRecogniser": "streaming",
    "load_streaming_recogniser": "streaming",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    register()  # first: it leaves the root logger as it is, which fairseq's own import would not
    return getattr(import_module(f"{__name__}.checkpoints.{_MODULES[name]}"), name)
