"""The features of a frozen encoder, kept on disk so that each clip is encoded once for all epochs and runs."""
