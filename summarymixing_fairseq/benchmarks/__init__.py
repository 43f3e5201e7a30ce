"""Time and memory of every part, compared with rivals. Each contender runs in a process of its own."""
