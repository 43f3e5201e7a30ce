"""Measures of frames: numbers in, numbers out; they read no file. ``context`` and ``branches`` run an encoder."""
