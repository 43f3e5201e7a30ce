"""Models that fairseq knows by name. fairseq imports every file of this folder when it loads the user-dir."""
