"""Joins: takes submissions in, runs the cycle, carries out its plans."""
