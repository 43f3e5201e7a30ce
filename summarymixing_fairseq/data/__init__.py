"""Datasets on top of fairseq's."""
