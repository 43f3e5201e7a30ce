"""Results on MP3S reported by "Linear-Complexity Self-Supervised Learning for Speech Processing" (arXiv 2407.13377).

These are the figures that this project has on record: Welsh by probe 1, the BiLSTM; SLURP by probe 2, the BiLSTM and
linear layers; and the average over the low-resource recognition tasks.
"""

SOURCE = "arXiv 2407.13377"
SUMMARYMIXING, MHSA, BASE, LARGE = "SummaryMixing", "MHSA", "wav2vec 2.0 base", "wav2vec 2.0 large"
# by task and probe, and by system, in percent, of the task's metric on its test split
FIGURES = {
    ("commonvoice_cy", 1): {SUMMARYMIXING: 48.3, MHSA: 50.8, BASE: 54.5, LARGE: 45.4},
    ("slurp", 2): {SUMMARYMIXING: 80.5, MHSA: 78.1, BASE: 77.7, LARGE: 79.0},
}
# averaged over Welsh and Basque, SummaryMixing relative to its MHSA twin
LOW_RESOURCE_TASKS = ("commonvoice_cy", "commonvoice_eu")
LOW_RESOURCE_RELATIVE_WER_PERCENT = -7.8
