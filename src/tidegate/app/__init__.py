"""Assembles: settings in, a running server or worker out. The only room that chooses concrete classes."""
