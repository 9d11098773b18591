"""What is remembered of crashes, so that a process that keeps dying knows it, and the mode that all servers share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegate.core.identity import Caller
from tidegate.core.job import TaskKey
from tidegate.core.recovery import Crash, SafeMode


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A task that took its keeper or its worker with it too often, and whether somebody has let it run again."""

    key: TaskKey
    at: datetime
    kind: str
    name: str
    owner: str
    released_at: datetime | None = None
    released_by: str | None = None
    released_as: int | None = None
    """The job that runs it again."""


class RecoveryStore(Protocol):
    """Crashes and safe mode."""

    def begin(self, place: str, at: datetime) -> datetime | None:
        """A process has begun. When its last run began, if that was never ended: it crashed."""
        ...

    def end(self, place: str) -> None:
        """It ends in order."""
        ...

    def add_crash(self, crash: Crash) -> None: ...

    def crashes(self, since: datetime) -> list[Crash]:
        """Those after `since`, in their order."""
        ...

    def prune_crashes(self, before: datetime) -> int:
        """Forget those before; how many."""
        ...

    def prune_runs(self, before: datetime) -> int:
        """Forget runs that began before and never ended, of places that are gone; how many. A place that lives begins anew
        with its next start."""
        ...

    def safe_mode(self) -> SafeMode: ...

    def set_safe_mode(self, state: SafeMode, by: Caller | None = None) -> bool:
        """Change the mode, which gets the next version. False, and nothing is changed, when it is not of `state.version`."""
        ...


class QuarantineStore(Protocol):
    """Tasks that are not run again by themselves. An end with `quarantined` brings one here."""

    def quarantined(self, *, before: TaskKey | None = None, limit: int = 50) -> list[Quarantined]:
        """Those there are, newest job first, with keys below `before`."""
        ...

    def quarantined_task(self, key: TaskKey) -> Quarantined:
        """Raises NotFound."""
        ...

    def release_task(self, key: TaskKey, at: datetime, by: Caller | None = None) -> int:
        """Have it run again, as a job of its own with the same owner; the job's id.

        Raises NotFound, and Conflict when it was let go before, or when the name of its result was taken meanwhile.
        """
        ...
