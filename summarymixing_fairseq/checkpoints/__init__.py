"""Reading and writing checkpoints: files that may come from anyone, and the encoders in them."""
