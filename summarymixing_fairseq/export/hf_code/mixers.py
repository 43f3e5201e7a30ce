"""The mixers there are. Beside a model's weights stands in place of this file one that imports the model's mixers."""

from ...modules.mixing import build_mixer

__all__ = ["build_mixer"]
