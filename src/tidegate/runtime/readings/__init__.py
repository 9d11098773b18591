"""What this machine and its service feel: one sensor a file, each for some of the readings."""
