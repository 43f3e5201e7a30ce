"""What fairseq's trainer lacks for long runs: whole checkpoints, CPUs, random numbers that repeat, health."""
