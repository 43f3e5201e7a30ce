"""Metrics of probes and their confidence intervals, by numpy and scikit-learn: no torch, no fairseq."""
