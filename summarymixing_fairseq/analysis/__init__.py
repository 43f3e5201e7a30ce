"""What a model's frames hold: measures, each a pure function in a file of its own, and the speech they are taken on."""
