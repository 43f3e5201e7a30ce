"""What exists for speed or memory alone."""
