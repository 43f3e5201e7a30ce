"""Building blocks: tensors in, tensors out. Nothing here reads a configuration or a registry of fairseq's."""
