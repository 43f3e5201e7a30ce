"""Studies: encoders compared over seeds, each pre-trained, looked at, fine-tuned and scored on held-out clips."""
