"""How much memory is used of what bounds it here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tidegate.runtime.ancestry import (
    Above,
    Groups,
    field_of,
    number_field_of,
    number_of,
    text_of,
)
from tidegate.runtime.limits.paths import UNIFIED


class _Bound(NamedTuple):
    """One thing that bounds memory: what is in use of it, of that page cache that nobody uses, and how much there may be."""

    charged_bytes: int
    cache_bytes: int
    limit_bytes: int

    @property
    def used_bytes(self) -> int:
        return max(self.charged_bytes - self.cache_bytes, 0)

    @property
    def used_share(self) -> float:
        return self.used_bytes / self.limit_bytes


class MemorySensor:
    """`memory_used_percent` and what belongs to it, of the bound that is nearest to being full.

    Page cache on the kernel's list of inactive files is not counted as used: it is the first to be given back. That is how
    Kubernetes counts a working set. Without a limit on any group it is the machine that bounds.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def read(self) -> Mapping[str, float]:
        bounds = [bound for bound in self._bounds() if bound.limit_bytes > 0]
        if not bounds:
            return {}
        worst = max(bounds, key=lambda bound: bound.used_share)
        return {
            "memory_used_percent": min(100.0 * worst.used_share, 100.0),
            "memory_used_bytes": worst.used_bytes,
            "memory_limit_bytes": worst.limit_bytes,
            "memory_free_bytes": max(min(bound.limit_bytes - bound.used_bytes for bound in bounds), 0),
            "memory_cache_bytes": worst.cache_bytes,
        }

    def _bounds(self) -> Iterator[_Bound]:
        for level in self._groups.of(UNIFIED):
            limit = number_of(f"{level.folder}/memory.max")
            if limit is not None:
                yield from _charged(level, "memory.current", ("inactive_file",), limit)
        for level in self._groups.of("memory"):
            limit = number_of(f"{level.folder}/memory.limit_in_bytes")
            if limit is not None:
                yield from _charged(level, "memory.usage_in_bytes", _INACTIVE_V1, limit)
        for level in self._groups.of("memory")[:1]:
            # The least limit above, also of groups that cannot be seen from here; what they hold beside us is not known.
            limit = number_field_of(text_of(f"{level.folder}/memory.stat"), "hierarchical_memory_limit")
            if limit is not None:
                yield from _charged(level, "memory.usage_in_bytes", _INACTIVE_V1, limit)
        yield from self._machine()

    def _machine(self) -> Iterator[_Bound]:
        text = (text_of(f"{self._groups.base}/proc/meminfo") or "").replace(":", "")
        total, available, free = (_kibibytes(text, name) for name in ("MemTotal", "MemAvailable", "MemFree"))
        if total is not None and available is not None:
            cache = max(available - (free or 0), 0)
            yield _Bound(total - available + cache, cache, total)


_INACTIVE_V1 = ("total_inactive_file", "inactive_file")
"""`total_` with the groups below, which `usage_in_bytes` counts too."""


def _charged(level: Above, name: str, inactive: tuple[str, ...], limit: int) -> Iterator[_Bound]:
    charged = number_of(f"{level.folder}/{name}")
    if charged is None:
        return
    stat = text_of(f"{level.folder}/memory.stat")
    caches = (number_field_of(stat, each) for each in inactive)
    cache = next((each for each in caches if each is not None), 0)
    yield _Bound(charged, min(cache, charged), limit)


def _kibibytes(text: str, name: str) -> int | None:
    word = field_of(text, name)
    return int(word) * 1024 if word is not None and word.isdigit() else None
