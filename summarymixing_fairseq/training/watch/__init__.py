"""What is watched while a model trains: its health, its numbers, its waiting for data."""
