"""What a machine and its service feel at one moment, and the short memory of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at a machine and what is served from it. None: not known here. Percents are 0 to 100.

    Stalls are the kernel's pressure stall information (PSI): of the last 10 s, the share in which some task, or every task
    that had something to do, waited for the resource.
    """

    memory_used_percent: float | None = None
    """Of what bounds memory here, in use and not to be had back at once: without page cache that is not in use."""
    memory_used_bytes: float | None = None
    memory_limit_bytes: float | None = None
    """What bounds it: the tightest control group, or the machine."""
    memory_free_bytes: float | None = None
    memory_cache_bytes: float | None = None
    """Page cache not in use, which is left out of what is used."""
    memory_stall_some_percent: float | None = None
    memory_stall_full_percent: float | None = None
    memory_stall_full_minute_percent: float | None = None
    """The same over the last 60 s: above it, the stall grows."""
    cpu_busy_percent: float | None = None
    """Of all CPUs that may be used here."""
    cpu_stall_percent: float | None = None
    """Of the last 10 s, the share in which the service itself could run and had to wait for a CPU. Jobs that wait for each
    other do not count: they yield, and a machine filled with them is as it should be."""
    cpu_stall_all_percent: float | None = None
    """The same of all tasks here, jobs among them: the kernel's figure."""
    io_stall_percent: float | None = None
    read_bytes_per_s: float | None = None
    written_bytes_per_s: float | None = None
    disk_free_percent: float | None = None
    """Of the file system with the data directory."""
    disk_free_bytes: float | None = None
    loop_lag_s: float | None = None
    """How late the event loop of the API gets to what is due, smoothed over a second."""
    sojourn_s: float | None = None
    """The least time that a request had to wait for its turn since the last look, at the worst place to wait at: a gate, the
    intake, a thread. 0 when one had not to wait at all."""
    thread_wait_s: float | None = None
    """The same before the threads that read the store alone, where a request waits that has passed its gate."""
    database_p95_s: float | None = None
    """How long a small question to the database takes, of those of the last 10 s."""
    database_silent_s: float | None = None
    """For how long the database has owed an answer; 0 when it owes none."""
    redis_p95_s: float | None = None
    redis_silent_s: float | None = None

    def known(self) -> dict[str, float]:
        """By name, what is known."""
        pairs = ((name, getattr(self, name)) for name in NAMES)
        return {name: value for name, value in pairs if value is not None}


NAMES = tuple(each.name for each in fields(Readings))


def readings_from(values: Mapping[str, object]) -> Readings:
    """From names and numbers. What is no number, or of a name not known to this version, is left out."""
    return Readings(**{name: float(value) for name, value in values.items() if _good(name, value)})  # type: ignore[arg-type]


def _good(name: str, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return name in _NAMES and number and math.isfinite(value)  # type: ignore[arg-type]


_NAMES = frozenset(NAMES)


class Sample(NamedTuple):
    """Readings of a worker or server, when they were taken, and the level that was then (0 normal to 3 emergency)."""

    at: datetime
    readings: Readings
    level: int = 0


@dataclass
class History:
    """The samples of the last while, oldest first; at most `most` of them."""

    most: int = 600
    """Ten minutes of a sample a second."""
    _samples: deque[Sample] = field(default_factory=deque)

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)
        while len(self._samples) > self.most:
            self._samples.popleft()

    def since(self, at: datetime) -> list[Sample]:
        return [sample for sample in self._samples if sample.at >= at]

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(tuple(self._samples))


def thinned(samples: Iterable[Sample]) -> Sample | None:
    """One sample for many, at the instant of the last: of each reading the worst, of what has no worse side the mean.

    A minute that is kept as its mean would hide the seconds for which levels change.
    """
    samples = tuple(samples)
    if not samples:
        return None
    merged = {name: _merge(name, [one.readings for one in samples]) for name in NAMES}
    return Sample(samples[-1].at, Readings(**merged), max(one.level for one in samples))


_LEAST = frozenset({"memory_free_bytes", "disk_free_percent", "disk_free_bytes"})
_MEAN = frozenset({"memory_cache_bytes", "memory_limit_bytes", "read_bytes_per_s", "written_bytes_per_s"})


def _merge(name: str, many: Iterable[Readings]) -> float | None:
    values: list[float] = [value for one in many if (value := getattr(one, name)) is not None]
    if not values:
        return None
    if name in _MEAN:
        return math.fsum(values) / len(values)
    return min(values) if name in _LEAST else max(values)
