"""MP3S (arXiv 2308.14456): its tasks, running probes on all of them, one table, layer weights.

fairseq is imported once an encoder is named.
"""
