"""What goes beside weights for transformers: these files and the modules that they import, in one folder."""
