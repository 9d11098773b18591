"""One database with all its faces."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from tidegate.ports.alerts import AlertStore
from tidegate.ports.attempts import AttemptStore
from tidegate.ports.identity import AuditStore, KeyStore
from tidegate.ports.jobs import JobStore
from tidegate.ports.leading import LeaderStore
from tidegate.ports.pressure import ReadingStore
from tidegate.ports.queues import QueueStore
from tidegate.ports.recovery import QuarantineStore, RecoveryStore
from tidegate.ports.rescue import RescueStore
from tidegate.ports.schedule import ScheduleStore
from tidegate.ports.sources import SourceStore
from tidegate.ports.statistics import StatisticsStore
from tidegate.ports.usage import UsageStore
from tidegate.ports.workers import WorkerStore


class Store(
    JobStore,
    ScheduleStore,
    LeaderStore,
    RescueStore,
    AttemptStore,
    SourceStore,
    QueueStore,
    WorkerStore,
    KeyStore,
    AuditStore,
    ReadingStore,
    RecoveryStore,
    QuarantineStore,
    AlertStore,
    UsageStore,
    StatisticsStore,
    Protocol,
):
    """One database, all its faces, and its own care."""

    def prune(self, before: datetime) -> int:
        """Forget jobs that finished before, with their tasks, attempts, events and idempotency keys; how many.

        Sources stay, also those that the jobs have made. A job whose attempt still holds an allocation stays. What ran
        where, when, and what it used goes to an archive, which the service itself does not read; what it used is also added
        to the usage of its hour.
        """
        ...

    def time(self) -> datetime:
        """The database's own time, the one clock that all servers and workers share."""
        ...

    def prune_archive(self, before: datetime) -> int:
        """Forget what the archive holds of jobs that finished before; how many jobs."""
        ...

    def prune_kept(self, before: datetime, most_bytes: int) -> int:
        """Forget kept results that were not used since `before`, and of the others those unused for longest, until they have
        at most `most_bytes`; how many."""
        ...

    def check(self) -> None:
        """Recount everything: sums equal their parts, nothing oversold. Raises LedgerError with what differs."""
        ...

    def close(self) -> None: ...
