"""All mixers of the package. In an export this file is replaced by one that imports the mixers of that model alone."""

from ...modules.mixing import build_mixer

__all__ = ["build_mixer"]
