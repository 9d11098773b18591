"""Remembers: the only room that speaks SQL to the database of record."""

from tidegate.store.pool import Pool
from tidegate.store.sql import SqlStore, open_store

__all__ = ["Pool", "SqlStore", "open_store"]
