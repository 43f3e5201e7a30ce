"""Corpora as manifests: one corpus a file, with what they share in writing, audio and text.

A corpus is a module of this folder with

- a docstring, which is its help, and its first line the short help;
- ``add_arguments(parser)``, which adds the corpus's folder as ``root`` and the options of this corpus alone;
- ``prepare(root, options, *, ...)``, which reads the corpus and returns what to write, as ``Prepared``, or a text to
  print where nothing more is to be written. Its keywords are the options of this corpus, by the names that argparse
  gives them (``dest``), and have the defaults.

`summarymixing manifest NAME` runs it. A new file here is a new corpus: nothing else has to be edited.
"""

from __future__ import annotations

from types import ModuleType

from ..system.plugins import modules_of


def all_corpora() -> dict[str, ModuleType]:
    """Every corpus by its name: ``folder``, which takes any audio, comes first."""
    found = modules_of(__name__, __path__)
    return {"folder": found.pop("folder"), **found}
