"""Writing manifests, labels and dictionaries."""
