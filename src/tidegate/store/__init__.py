"""Remembers: the only room that speaks SQL to the database of record."""
