"""The package's whole files, locks, signals and streams, for scripts: importing the package itself takes seconds.

Its `__init__` registers models with fairseq, which imports torch. Here the package's folder is a package of another
name that has no `__init__`; what is taken from it imports the standard library alone.

A script of this folder or of examples/ answers to Ctrl-C from the moment that this module is imported.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NAME = "summarymixing_parts"

if _NAME not in sys.modules:
    _package = ModuleType(_NAME)
    _package.__path__ = [os.path.join(_ROOT, "summarymixing_fairseq")]
    sys.modules[_NAME] = _package

from summarymixing_parts import files, interrupts  # noqa: E402
from summarymixing_parts.commands import streams  # noqa: E402
from summarymixing_parts.errors import InputError  # noqa: E402

__all__ = ["InputError", "files", "interrupts", "streams"]


def _is_script() -> bool:
    """Whether a script of the project is starting, and not one of its pool's processes."""
    script = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    folders = tuple(os.path.join(_ROOT, name, "") for name in ("manifests", "examples"))
    return script.startswith(folders) and "multiprocessing.spawn" not in sys.modules


if _is_script():
    interrupts.install()
    streams.secure()
