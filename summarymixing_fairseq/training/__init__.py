"""What fairseq's trainer lacks for long runs: whole checkpoints, processes without GPUs, noise that repeats, health."""
