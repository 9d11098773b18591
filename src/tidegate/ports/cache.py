"""The ledger as a cache: a hint for those who look, quick to ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.ports.workers import Held


class WorkerRoom(NamedTuple):
    """What a worker offers and what of it is taken."""

    allocatable: Resources
    allocated: Resources


class Rooms(NamedTuple):
    """All workers with what they offer and what is taken. `version` counts how often this was read from the store anew."""

    version: int
    workers: Mapping[str, WorkerRoom]


class Mark(NamedTuple):
    """A place in the changes that a cache has heard of; numbers of another life mean something else."""

    life: str
    number: int


class LedgerCache(Protocol):
    """Counters per worker and an entry per allocation, changed together. It never decides a release, a death or an admission:
    for those SQL is asked.

    It is fed after commits, so it may be late, and news may be lost: whoever feeds it says so by `doubt`. Then one `rebuild`
    makes it right, or the next but one, when a release was missed and the news of its start comes after the first. Every
    change is safe to repeat and may come in any order, since an attempt starts once and is released once. Calls may raise
    Unavailable.
    """

    def started(self, starts: Sequence[Start]) -> None:
        """These hold something from now on."""
        ...

    def released(self, keys: Sequence[AttemptKey]) -> None:
        """These hold nothing any more, nor ever will."""
        ...

    def doubt(self) -> None:
        """Something may have been missed: `rooms` is None until the next `rebuild`."""
        ...

    def mark(self) -> Mark:
        """Where the cache stands. Taken before the store is read for a `rebuild`."""
        ...

    def rebuild(self, held: Iterable[Held], offered: Mapping[str, Resources], mark: Mark) -> bool:
        """Begin anew with what was read from the store after `mark`, and with the changes that have come since.

        False, and nothing has changed, when those are no longer known: mark, read and rebuild again.
        """
        ...

    def rooms(self) -> Rooms | None:
        """None while it is in doubt."""
        ...
