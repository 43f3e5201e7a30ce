"""On PYTHONPATH, makes torch count one GPU a node: fairseq's start under Slurm counts them, and gloo needs none."""

import os

if "FAKE_SLURM" in os.environ and "SLURM_JOB_ID" in os.environ:
    import torch

    torch.cuda.device_count = lambda: 1
