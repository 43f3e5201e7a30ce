"""The formats, one a file, behind one interface and one registry."""

from ...system.plugins import modules_of
from .registry import FORMATS, Format, register_format

modules_of(__name__, __path__)

__all__ = ["FORMATS", "Format", "register_format"]
