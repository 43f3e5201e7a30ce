"""What every part stands on: errors, files, signals, processes and the machine."""
