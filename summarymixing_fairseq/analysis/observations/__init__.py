"""What `summarymixing analyse` measures: importing this folder registers all of it."""

from ...system.plugins import modules_of
from .registry import MEASURES, Measure, Row, register_measure

__all__ = ["MEASURES", "Measure", "Row", "register_measure"]

modules_of(__name__, __path__)
