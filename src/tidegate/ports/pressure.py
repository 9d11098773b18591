"""What is felt here: readings, the level they add up to, and what it allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tidegate.core.overload import Allowed
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings, Sample


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

    def severity(self) -> float:
        """The share, 0 to 1, of what `Allowed.refuse_some` names that is to be refused."""
        ...

    def readings(self) -> Readings:
        """The last ones."""
        ...

    def history(self, since: datetime) -> Sequence[Sample]:
        """The samples from then on, oldest first, as far back as is remembered: ten minutes without pressure."""
        ...


class ReadingStore(Protocol):
    """Readings of workers and servers, a sample a minute each."""

    def add_sample(self, place: str, sample: Sample) -> None:
        """Keep a sample of a worker or server, named `place`. One of the same instant is replaced."""
        ...

    def samples(self, place: str | None, since: datetime, until: datetime) -> Sequence[tuple[str, Sample]]:
        """Of one place or of all, from `since` up to and without `until`; by instant, then by place; the first 10,000."""
        ...

    def prune_samples(self, before: datetime) -> int:
        """Forget older ones; how many."""
        ...
