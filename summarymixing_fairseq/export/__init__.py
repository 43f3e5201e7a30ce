"""Checkpoints for others: each format one file of ``formats``, with a model card, a file of use and a check."""
