"""The version, where setup.cfg reads it without importing torch."""

__version__ = "0.2.0"
