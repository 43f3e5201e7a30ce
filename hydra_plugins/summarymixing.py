"""``${summarymixing:user_dir}``: the folder of the installed package, for ``common.user_dir`` of a configuration.

fairseq takes a path there, relative to the working directory. Hydra imports every module of ``hydra_plugins`` before it
reads a configuration, so the path is right wherever the command is typed and however the package is installed. The
package must not be imported here: fairseq registers the models and tasks of a user-dir only at its first import.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hydra.plugins.plugin import Plugin
from omegaconf import OmegaConf


class SummaryMixing(Plugin):
    """Takes this module, and so the resolver, into the processes that a hydra launcher starts."""


def _resolve(key: str) -> str:
    if key != "user_dir":
        raise ValueError(f"${{summarymixing:{key}}}: only ${{summarymixing:user_dir}} is known")
    spec = importlib.util.find_spec("summarymixing_fairseq")
    if spec is None or spec.origin is None:
        raise ValueError("${summarymixing:user_dir}: summarymixing_fairseq is not installed")
    return str(Path(spec.origin).parent)


if hasattr(OmegaConf, "register_new_resolver"):
    OmegaConf.register_new_resolver("summarymixing", _resolve, replace=True)
else:  # omegaconf 2.0, which comes with fairseq for Python 3.9 and 3.10
    OmegaConf.register_resolver("summarymixing", _resolve)
