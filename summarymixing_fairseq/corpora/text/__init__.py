"""Transcripts: normalising them, and units of text."""
