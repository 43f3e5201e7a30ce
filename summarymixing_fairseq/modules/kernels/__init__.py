"""Code that exists only for speed or memory. Results equal those of the plain form beside it."""
