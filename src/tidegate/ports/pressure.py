"""What is felt here: readings, the level they add up to, and what it allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from tidegate.core.identity import Caller
from tidegate.core.overload import Allowed
from tidegate.core.pressure import Gauge, Level
from tidegate.core.pressure_rules import PressureRules
from tidegate.core.readings import Readings, Sample


class ChangedRules(NamedTuple):
    """What an operator has changed of the rules (`core.pressure_rules`), when, and who."""

    changes: Mapping[str, Any]
    changed_at: datetime
    changed_by: str


class Sensor(Protocol):
    """Tells some of the readings: of the machine, of an event loop, of a database."""

    def read(self) -> Mapping[str, float]:
        """By their names in `Readings`; what cannot be told is left out. Quick, and never raises: it is called up to four
        times a second, always from one thread."""
        ...


class Overload(Protocol):
    """The pressure on this process and its machine, and what it allows. Does not block; safe to use from any thread."""

    def level(self) -> Level: ...

    def allowed(self) -> Allowed:
        """What the present level allows."""
        ...

    def is_short(self) -> bool:
        """Whether what the end of a job gives back is short at an emergency right now; the level outlasts that."""
        ...

    def severity(self) -> float:
        """The share, 0 to 1, of what `Allowed.refuse_some` names that is to be refused."""
        ...

    def readings(self) -> Readings:
        """The last ones."""
        ...

    @property
    def watch_only(self) -> bool:
        """Whether levels are told and nothing follows from them."""
        ...

    def rules(self) -> PressureRules:
        """Those it judges by now."""
        ...

    def gauge(self) -> Gauge:
        """The level with that of each signal."""
        ...

    def changed_at(self) -> datetime | None:
        """Since when the level is what it is; None when it has not changed since the start."""
        ...

    def history(self, since: datetime) -> Sequence[Sample]:
        """The samples from then on, oldest first, as far back as is remembered: ten minutes without pressure."""
        ...


class ReadingStore(Protocol):
    """Readings of workers and servers, a sample a minute each, and the rules on pressure that an operator has changed."""

    def add_sample(self, place: str, sample: Sample) -> None:
        """Keep a sample of a worker or server, named `place`. One of the same instant is replaced."""
        ...

    def samples(self, place: str | None, since: datetime, until: datetime) -> Sequence[tuple[str, Sample]]:
        """Of one place or of all, from `since` up to and without `until`; by instant, then by place; the first 10,000."""
        ...

    def prune_samples(self, before: datetime) -> int:
        """Forget older ones; how many."""
        ...

    def pressure_rules(self) -> ChangedRules | None:
        """What differs from the rules of the settings; None when nothing was ever changed. Asked twice a second."""
        ...

    def set_pressure_rules(
        self, changes: Mapping[str, Any], at: datetime, by: Caller | None = None
    ) -> ChangedRules:
        """Let this differ from now on, and nothing else."""
        ...
