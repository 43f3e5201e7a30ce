"""Objectives of pre-training: one a file, behind one interface and one registry."""

from ...system.plugins import modules_of
from .registry import OBJECTIVES, OPTIONS, MaskedBatch, Objective, ObjectiveOptions, register_objective

modules_of(__name__, __path__)

__all__ = ["OBJECTIVES", "OPTIONS", "MaskedBatch", "Objective", "ObjectiveOptions", "register_objective"]
