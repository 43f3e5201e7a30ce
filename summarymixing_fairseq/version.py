"""The version, where pyproject.toml finds it without importing torch."""

__version__ = "0.1.0"
