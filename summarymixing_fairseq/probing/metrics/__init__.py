"""Metrics, their confidence intervals and the file of results. numpy alone: nothing here knows of torch or fairseq."""
