"""The version, where pyproject.toml finds it without importing torch."""

__version__ = "0.2.0"
