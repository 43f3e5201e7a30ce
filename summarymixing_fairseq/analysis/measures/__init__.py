"""Measures of frames: numbers in, numbers out. They know no model and read no file."""
