"""What workers write."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from tidegate.core.attempt import AttemptEnd, Claimed, Recorded
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings, Sample
from tidegate.core.resources import Resources


class WorkerPressure(NamedTuple):
    """What a worker feels: its level and since when, its last readings, and those of the last minute as one sample."""

    level: Level = Level.NORMAL
    since: datetime | None = None
    readings: Readings = Readings()
    minute: Sample | None = None


NO_PRESSURE = WorkerPressure()


TAKES_BATCHES: Mapping[str, str] = MappingProxyType({"batches": "1"})
"""Of the versions that a worker tells: that it runs batches. Earlier ones do not, and would break the account of a batch, so
they get single attempts. Each registration tells it anew, so one that is put back to an earlier version tells it no more."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker offers when it registers. `allocatable` is its capacity less the headroom for system and service."""

    id: str
    hostname: str
    capacity: Resources
    allocatable: Resources
    labels: frozenset[tuple[str, str]] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    rungs: tuple[str, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    """How its process does, as JSON: `pid`, `pool`, `processes`, `kinds`, `begun` by kind since `since`, `rusage`."""
    pressure: WorkerPressure = NO_PRESSURE


class BeatAnswer(NamedTuple):
    """What a worker hears from its beat."""

    cancel: list[AttemptKey]
    """Its live attempts whose job is to be cancelled."""
    stale: list[AttemptKey]
    """Those it says it runs that are not its own any more: ended, lost, or never its own."""
    missing: list[AttemptKey]
    """Those it has claimed by what the store says and does not say it runs: the answer to the claim got lost, or is still
    on its way."""


class AttemptStore(Protocol):
    """What workers write. A claim and a report renew the lease like a beat."""

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        """Register or return; the new generation, one above the last. Attempts of older generations become lost ones."""
        ...

    def beat(
        self,
        worker: WorkerInfo,
        generation: int,
        at: datetime,
        lease_s: float,
        running: Collection[AttemptKey],
    ) -> BeatAnswer | None:
        """Renew the lease and the capacity, and compare what the worker runs with what it holds.

        Its minute, if it tells one, is kept as a sample of `worker:<id>`.

        None when the generation is no longer the worker's: stop everything and register again.
        """
        ...

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        """Leave: no more starts are placed here. False when the generation is not current."""
        ...

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        """Starting → running for those of the attempts that are still this worker's and not to be cancelled.

        An attempt of a job that is to be cancelled is ended as cancelled and released here, since nothing ran.
        """
        ...

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        """Record ends, each only if the attempt is live, the newest of its task, and held by this worker and generation.

        In one transaction: the attempt, its task and job, usage, events, the release of the allocation exactly once
        (when `release`), the result source, and the task's `new_tasks`, which come under the next numbers of the job, queued
        unless their result is known; a result with a `digest` is kept; when all others have ended, the job's last task, if it
        has one. Answers what was recorded, with `next_state` as it
        became: `cancelled` instead of anything else when a cancel was acknowledged before (its source is then not
        registered, its tasks are not added); failed when its tasks cannot be added, since the job would have more than
        `MOST_TASKS`. An end that is stale is left out of the answer.
        """
        ...

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        """Release allocations that an end had kept; how many were still held."""
        ...

    def release_kept(self, worker_id: str, at: datetime) -> int:
        """Release all that ends had kept on a worker of which it is proven that nothing runs there; how many."""
        ...

    def unclaimed(self, before: datetime, worker_id: str | None = None) -> list[Start]:
        """Attempts started before that their workers, or this one, have not claimed; without those that are lost.

        They are to be launched again: what brought them may have been lost on the way.
        """
        ...
