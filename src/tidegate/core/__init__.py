"""Decides: what runs where and when. Pure: no clock, no chance, no input or output."""
