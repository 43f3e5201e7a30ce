"""Metrics of probes and their confidence intervals, by numpy, scipy and scikit-learn: no torch, no fairseq."""
