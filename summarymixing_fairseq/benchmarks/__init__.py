"""Time and memory of every part beside its rivals; each contender runs in a process of its own."""
