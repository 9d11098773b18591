"""How many connections a server keeps to its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

_RECYCLE_S = 3600
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections kept open, and how many more there may be for a while. SQLite has a writer and four readers instead."""

    size: int = 10
    overflow: int = 10

    @classmethod
    def of(cls, cpus: int, environment: str, *, size: int | None = None, overflow: int | None = None) -> Self:
        """What suits a machine with so many CPUs: ten of each for development, else 10 a CPU up to 30, and 5 a CPU up
        to 20 more for a while; figures that are given hold instead."""
        base, more = (10, 10) if environment == "development" else (min(30, cpus * 10), min(20, cpus * 5))
        return cls(base if size is None else size, more if overflow is None else overflow)

    def arguments(self) -> dict[str, Any]:
        """For `sqlalchemy.create_engine`. Connections are looked at before use, and anew after an hour."""
        return {
            "pool_size": self.size,
            "max_overflow": self.overflow,
            "pool_timeout": _WAIT_S,
            "pool_pre_ping": True,
            "pool_recycle": _RECYCLE_S,
            "pool_reset_on_return": None,  # the store ends each transaction itself
        }
