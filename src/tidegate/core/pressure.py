"""Readings in, level out: when a machine feels pressure, and how sure one has to be before that is believed.

Each signal is a row of thresholds with a time for which they must be met. A row that has entered a level leaves it below
a lower threshold that must be met for half a minute, so that no reading that swings about a threshold makes a level swing.
The level is that of the worst row, and changes at most once in ten seconds. No clock and no chance, so that what was
recorded can be played again.

This is about what the machine feels. What is committed, the share of capacity that is allocated, is the ledger's and has
no say here: a machine that is full by the ledger and waits for nothing is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

from tidegate.core.readings import Readings
from tidegate.core.resources import MIB

LEAVE_S = 30.0
"""For how long a row must have been below its lower threshold to leave a level."""
LEAST_S = 10.0
"""For how long a level lasts at least."""
POINTS = 5.0
"""How much lower the threshold to leave is, in points of a percentage of what is used, busy or free."""
SHARE = 0.7
"""Likewise of stalls and durations: this share of the threshold."""
SAMPLE_S = 1.0
CLOSE_SAMPLE_S = 0.25
"""How often to look at normal, and from `warn` on."""


class Level(IntEnum):
    """How much pressure there is. What each level allows stands in `core.overload`."""

    NORMAL = 0
    WARN = 1
    CRITICAL = 2
    EMERGENCY = 3

    def __str__(self) -> str:
        return self.name.lower()


class Threshold(NamedTuple):
    """A bound of one reading, met at it and above, or with `below` at it and below."""

    reading: str
    bound: float
    below: bool = False
    rising_above: str | None = None
    """Met only while the reading is also above this other one: its own mean over longer."""

    @property
    def leave_bound(self) -> float:
        """What the reading must be back across to leave the level."""
        if self.reading in _IN_POINTS:
            return self.bound + POINTS if self.below else self.bound - POINTS
        return self.bound / SHARE if self.below else self.bound * SHARE

    def met(self, readings: Readings) -> bool:
        """Whether the reading is known and across the bound."""
        value, slower = self._value(readings), None
        if self.rising_above is not None:
            slower = getattr(readings, self.rising_above)
        if value is None or not self._across(value, self.bound):
            return False
        return self.rising_above is None or (slower is not None and value > slower)

    def kept(self, readings: Readings) -> bool:
        """Whether the reading is still across the bound to leave at; that it rises is not asked again."""
        value = self._value(readings)
        return value is not None and self._across(value, self.leave_bound)

    def _value(self, readings: Readings) -> float | None:
        value: float | None = getattr(readings, self.reading)
        return value

    def _across(self, value: float, bound: float) -> bool:
        return value <= bound if self.below else value >= bound


_IN_POINTS = frozenset({"memory_used_percent", "cpu_busy_percent", "disk_free_percent"})


class Trigger(NamedTuple):
    """Enters a level when all its thresholds have been met for `hold_s`."""

    thresholds: tuple[Threshold, ...]
    hold_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One signal: for each level the triggers, any of which enters it. A level without any is never entered."""

    signal: str
    triggers: Mapping[Level, tuple[Trigger, ...]]
    of_service: bool = False
    """Felt by who asks the service, not by the machine: it bears on what a server admits, not on what a worker starts."""
    eased_by_end: bool = False
    """Whether the end of a job gives back what is short. No job is ended because a database does not answer."""


def _over(reading: str, bound: float, hold_s: float = 0.0) -> tuple[Trigger, ...]:
    return (Trigger((Threshold(reading, bound),), hold_s),)


_DATABASE = Row(
    "database",
    {
        Level.WARN: _over("database_p95_s", 0.05),
        Level.CRITICAL: _over("database_p95_s", 0.25),
        Level.EMERGENCY: _over("database_silent_s", 5.0),
    },
    of_service=True,
)
_REDIS = Row(
    "redis",
    {
        # Nothing is decided by Redis: without it a cluster looks by itself once a second, and goes on.
        Level.WARN: (*_over("redis_p95_s", 0.05), *_over("redis_silent_s", 5.0)),
        Level.CRITICAL: _over("redis_p95_s", 0.25),
    },
    of_service=True,
)


ROWS: tuple[Row, ...] = (
    Row(
        "memory",
        {
            Level.WARN: _over("memory_used_percent", 80.0, 5.0),
            Level.CRITICAL: _over("memory_used_percent", 90.0, 2.0),
            Level.EMERGENCY: (
                *_over("memory_used_percent", 95.0),
                Trigger((Threshold("memory_free_bytes", 256.0 * MIB, below=True),)),
            ),
        },
        eased_by_end=True,
    ),
    Row(
        "memory_stall",
        {
            Level.WARN: _over("memory_stall_some_percent", 10.0),
            Level.CRITICAL: _over("memory_stall_full_percent", 5.0),
            Level.EMERGENCY: (
                Trigger(
                    (
                        Threshold(
                            "memory_stall_full_percent", 20.0, rising_above="memory_stall_full_minute_percent"
                        ),
                    ),
                    10.0,
                ),
            ),
        },
        eased_by_end=True,
    ),
    Row(
        "cpu",  # ends nothing: weights cure it
        {
            Level.WARN: (
                Trigger((Threshold("cpu_busy_percent", 80.0), Threshold("cpu_stall_percent", 20.0))),
            ),
            Level.CRITICAL: (
                Trigger((Threshold("cpu_busy_percent", 90.0), Threshold("cpu_stall_percent", 50.0))),
            ),
        },
        of_service=True,
    ),
    Row(
        "io_stall",
        {Level.WARN: _over("io_stall_percent", 20.0), Level.CRITICAL: _over("io_stall_percent", 40.0)},
    ),
    Row(
        "loop_lag",
        {
            Level.WARN: _over("loop_lag_s", 0.02),
            Level.CRITICAL: _over("loop_lag_s", 0.1),
            Level.EMERGENCY: _over("loop_lag_s", 0.5),
        },
        of_service=True,
    ),
    Row(
        "sojourn",
        {
            Level.WARN: _over("sojourn_s", 0.005),
            Level.CRITICAL: _over("sojourn_s", 0.02),
            # A gate lets wait for up to a second, and refuses the others by itself: a full one is no emergency.
            Level.EMERGENCY: _over("thread_wait_s", 0.1),
        },
        of_service=True,
    ),
    _DATABASE,
    _REDIS,
    Row(
        "disk",
        {
            level: (Trigger((Threshold("disk_free_percent", bound, below=True),)),)
            for level, bound in ((Level.WARN, 20.0), (Level.CRITICAL, 10.0), (Level.EMERGENCY, 5.0))
        },
        eased_by_end=True,
    ),
)
"""Section 1.3 of the rule set: after systemd-oomd and Meta's oomd (stalls), Dask (80, 90, 95 % of memory), DAGOR (sojourn)."""

MACHINE_ROWS = tuple(row for row in ROWS if not row.of_service)
"""What a worker is judged by."""


class Latch(NamedTuple):
    """One trigger's memory: whether it holds its level, and since when the contrary has been so."""

    on: bool = False
    since_s: float | None = None


class Change(NamedTuple):
    """The level has changed, and by which rows: for each its readings. Seconds are the clock's that was given."""

    before: Level
    after: Level
    at_s: float
    because: Mapping[str, Mapping[str, float]]
    """By signal, of the rows that raised it; when it falls, of those that had raised it before."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is remembered from one look to the next."""

    level: Level = Level.NORMAL
    since_s: float | None = None
    """When it became so; None when it has always been."""
    latches: Mapping[tuple[str, Level, int], Latch] = field(default_factory=dict)
    rows: Mapping[str, Level] = field(default_factory=dict)
    """The level of each row by itself."""
    raised_by: frozenset[str] = frozenset()
    """The rows that were at this level, or above, when it was last changed upwards."""


def observe(
    gauge: Gauge, readings: Readings, now_s: float, rows: Iterable[Row] = ROWS
) -> tuple[Gauge, Change | None]:
    """Take a look into account: what to remember, and the change of level it made, if it made one.

    `now_s` is monotonic and never less than before. A reading that is not known counts as one without pressure.
    """
    rows = tuple(rows)
    latches = {
        (row.signal, level, index): _step(
            gauge.latches.get((row.signal, level, index), Latch()), trigger, readings, now_s
        )
        for row in rows
        for level, triggers in row.triggers.items()
        for index, trigger in enumerate(triggers)
    }
    levels = {row.signal: _level_of(row, latches) for row in rows}
    wanted = max(levels.values(), default=Level.NORMAL)
    seen = replace(gauge, latches=latches, rows=levels)
    settled = gauge.since_s is None or now_s - gauge.since_s >= LEAST_S
    if wanted is gauge.level or not settled:
        return seen, None
    if wanted > gauge.level:
        seen = replace(seen, raised_by=frozenset(name for name, level in levels.items() if level >= wanted))
    because = {row.signal: numbers(row, readings) for row in rows if row.signal in seen.raised_by}
    return replace(seen, level=wanted, since_s=now_s), Change(gauge.level, wanted, now_s, because)


def is_short(readings: Readings, rows: Iterable[Row] = ROWS) -> bool:
    """Whether what the end of a job gives back is short at an emergency right now, not only half a minute ago.

    A level outlasts its cause, so that it does not flap; an end that has helped must not be followed by another.
    """
    return any(
        all(one.met(readings) for one in trigger.thresholds)
        for row in rows
        if row.eased_by_end
        for trigger in row.triggers.get(Level.EMERGENCY, ())
    )


def numbers(row: Row, readings: Readings) -> dict[str, float]:
    """The readings that a row is about, as far as they are known."""
    names = {
        threshold.reading
        for triggers in row.triggers.values()
        for trigger in triggers
        for threshold in trigger.thresholds
    }
    return {name: value for name in sorted(names) if (value := getattr(readings, name)) is not None}


def sample_every_s(level: Level) -> float:
    """How often to look at this level."""
    return SAMPLE_S if level is Level.NORMAL else CLOSE_SAMPLE_S


def severity(gauge: Gauge, readings: Readings, rows: Iterable[Row] = ROWS) -> float:
    """How far the worst row that warns is from `warn` to `critical`: 0 to 1.

    Memory at 85 %, between 80 and 90, gives 0.5: the share of sheddable work to refuse (Envoy calls such triggers scaled). A
    graded answer does not swing as one that is on or off does.
    """
    if gauge.level is Level.NORMAL:
        return 0.0
    return max((_progress(row, readings) for row in rows if gauge.rows.get(row.signal)), default=0.0)


def _step(latch: Latch, trigger: Trigger, readings: Readings, now_s: float) -> Latch:
    """Off: on once met for its time. On: off once not kept for `LEAVE_S`."""
    if latch.on:
        turning, needed_s = not all(one.kept(readings) for one in trigger.thresholds), LEAVE_S
    else:
        turning, needed_s = all(one.met(readings) for one in trigger.thresholds), trigger.hold_s
    if not turning:
        return Latch(latch.on)
    since_s = now_s if latch.since_s is None else latch.since_s
    return Latch(not latch.on) if now_s - since_s >= needed_s else Latch(latch.on, since_s)


def _level_of(row: Row, latches: Mapping[tuple[str, Level, int], Latch]) -> Level:
    held = (
        level
        for level, triggers in row.triggers.items()
        if any(latches[row.signal, level, index].on for index in range(len(triggers)))
    )
    return max(held, default=Level.NORMAL)


def _progress(row: Row, readings: Readings) -> float:
    starts = {
        one.reading: one.bound for trigger in row.triggers.get(Level.WARN, ()) for one in trigger.thresholds
    }
    return max(
        (
            min(_share(one, starts.get(one.reading, 0.0), readings) for one in trigger.thresholds)
            for trigger in row.triggers.get(Level.CRITICAL, ())
        ),
        default=0.0,
    )


def _share(threshold: Threshold, start: float, readings: Readings) -> float:
    value: float | None = getattr(readings, threshold.reading)
    if value is None or threshold.bound == start:
        return 0.0
    return min(max((value - start) / (threshold.bound - start), 0.0), 1.0)


def machine_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Those of the rows that a worker is judged by."""
    return tuple(row for row in rows if not row.of_service)
