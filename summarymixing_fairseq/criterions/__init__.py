"""Criterions that fairseq knows by name."""
