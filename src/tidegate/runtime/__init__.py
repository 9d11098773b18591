"""Runs: machines, processes and their limits."""
