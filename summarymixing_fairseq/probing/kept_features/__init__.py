"""What a frozen encoder gives for each clip, computed once and kept on disk."""
