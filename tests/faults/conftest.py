"""The small trainings of tests/training."""

from training.conftest import arguments, manifests, zygote

__all__ = ["arguments", "manifests", "zygote"]
