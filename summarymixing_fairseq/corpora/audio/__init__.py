"""Finding audio files, reading their lengths, and parting long recordings."""
