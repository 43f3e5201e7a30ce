"""From manifests, labels and audio files to batches: datasets on top of fairseq's, and the checks of their input."""
