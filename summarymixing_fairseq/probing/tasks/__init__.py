"""The tasks that train probes: recognition, classification and speaker verification."""
