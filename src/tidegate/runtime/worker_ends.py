"""How the end of a sandbox becomes the end of an attempt: what it made is published, what follows is decided."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tidegate.core.job import (
    Assignment,
    AttemptEnd,
    AttemptKey,
    AttemptState,
    Exit,
    ExitReason,
    Source,
    SourceColumn,
    TaskState,
    Usage,
)
from tidegate.core.retry import decide
from tidegate.runtime.publish import (
    DataFolders,
    publish_file,
    publish_folder,
    remove_published,
    sync_folder,
)
from tidegate.runtime.sandbox import SandboxEnd
from tidegate.runtime.worker_state import Running

KEEPER_DIED = "keeper_died"
CANCELLED_UNSTARTED = Exit(ExitReason.CANCELLED, "Cancelled before its worker had started it.")
UNBEGUN = Exit(ExitReason.LEASE_EXPIRED, "The attempt did not begin on its worker; it will run again.")
STOPPED_UNBEGUN = Exit(
    ExitReason.LEASE_EXPIRED, "The server stopped before the attempt had begun; it will run again."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt, before it is decided what follows."""

    state: AttemptState
    exit: Exit | None
    result: Mapping[str, object] | None = None
    source: Source | None = None


class Results:
    """Files that are in place but not yet named by a commit."""

    def __init__(self, folders: DataFolders) -> None:
        self._folders = folders
        self._published: dict[AttemptKey, Path] = {}
        self._doubtful: set[AttemptKey] = set()
        self._unsynced = False

    def outcome(self, end: SandboxEnd, assignment: Assignment, now: datetime) -> Outcome:
        """Publish what a success has made. What cannot be published is a failure that says so."""
        if not end.succeeded:
            lost = end.exit is not None and end.exit.reason is ExitReason.LEASE_EXPIRED
            return Outcome(AttemptState.LOST if lost else AttemptState.FAILED, end.exit)
        try:
            result, source = self._publish(end, assignment, now)
        except Exception as error:  # noqa: BLE001 - what a job reports may be anything; the other ends must not suffer
            refusal = Exit(ExitReason.ERROR, f"The result could not be published: {error}", code="bad_result")
            return Outcome(AttemptState.FAILED, refusal)
        return Outcome(AttemptState.SUCCEEDED, None, result, source)

    def sync(self) -> None:
        """Make what was published outlive a power cut; once for all that came together."""
        if self._unsynced:
            sync_folder(self._folders.results)
            self._unsynced = False

    def doubt(self, keys: Collection[AttemptKey]) -> None:
        """Their report broke off, so it may have been stored all the same."""
        self._doubtful |= self._published.keys() & keys

    def settle(self, reported: Collection[AttemptKey], named: Collection[AttemptKey]) -> None:
        """Forget files that a commit named; remove the others, since a cancel or a newer attempt came first.

        A file whose first report broke off may have been named by it: that one is left to the janitor.
        """
        for key in self._published.keys() & set(reported):
            path = self._published.pop(key)
            if key not in named and key not in self._doubtful:
                remove_published(path)
            self._doubtful.discard(key)

    def _publish(
        self, end: SandboxEnd, assignment: Assignment, now: datetime
    ) -> tuple[Mapping[str, object], Source | None]:
        facts = dict(end.result or {})
        # Code of users can write the report: where a result lies is said by who has put it there.
        facts.pop("path", None)
        facts.pop("source", None)
        file, folder = facts.pop("file", None), facts.pop("folder", None)
        if file is None and folder is None:
            return facts, None
        if folder is not None:
            path = publish_folder(self._folders, end.key, str(folder))
        else:
            path = publish_file(self._folders, end.key, str(file))
        self._published[end.key] = path
        self._unsynced = True
        facts["path"] = str(path.relative_to(self._folders.root))
        facts.setdefault("size_bytes", path.stat().st_size)
        if not assignment.result_name or folder is not None:
            return facts, None
        facts["source"] = assignment.result_name
        return facts, _result_source(assignment, facts, now)


class Ends:
    """Makes the ends that a worker reports."""

    def __init__(self, worker_id: str, max_losses: int) -> None:
        self._worker_id = worker_id
        self._max_losses = max_losses
        self._jitter = random.Random()  # spreads retries only

    def of_running(
        self, running: Running, outcome: Outcome, end: SandboxEnd | None, now: datetime, *, stopping: bool
    ) -> AttemptEnd:
        """Of what ran, or should have run; `stopping` when an orderly stop is under way."""
        put_back = stopping and outcome.state is AttemptState.LOST
        next_state, not_before = (
            (TaskState.QUEUED, None) if put_back else self._next(running.assignment, outcome.exit, now)
        )
        return AttemptEnd(
            key=running.assignment.key,
            worker_id=self._worker_id,
            generation=running.generation,
            state=outcome.state,
            ended_at=now,
            next_state=next_state,
            not_before=not_before,
            exit=outcome.exit,
            usage=Usage() if end is None else replace(end.usage, enforced_by=end.enforced_by),
            result=outcome.result,
            source=outcome.source,
            release=end is None or end.tree_gone,
            put_back=put_back,
        )

    def of_unbegun(self, key: AttemptKey, generation: int, now: datetime, *, put_back: bool) -> AttemptEnd:
        """Of what was planned or claimed for here and never began."""
        return AttemptEnd(
            key=key,
            worker_id=self._worker_id,
            generation=generation,
            state=AttemptState.LOST,
            ended_at=now,
            next_state=TaskState.QUEUED,
            exit=STOPPED_UNBEGUN if put_back else UNBEGUN,
            put_back=put_back,
        )

    def _next(
        self, assignment: Assignment, exit: Exit | None, now: datetime
    ) -> tuple[TaskState, datetime | None]:
        reason = exit.reason if exit else None
        if exit is not None and exit.code == KEEPER_DIED:
            reason = ExitReason.EVICTED  # our own process went, not the task's
        return decide(
            reason,
            attempt=assignment.key.attempt,
            losses=assignment.losses,
            put_back=assignment.put_back,
            max_attempts=assignment.max_attempts,
            max_losses=self._max_losses,
            now=now,
            jitter=self._jitter.uniform(-1.0, 1.0),
        )


def plain(end: AttemptEnd) -> AttemptEnd:
    """The end without anything that a job had a hand in."""
    exit_ = Exit(
        ExitReason.ERROR,
        "How the attempt ended could not be recorded; the server's log says why.",
        code="bad_report",
    )
    state = AttemptState.LOST if end.state is AttemptState.LOST else AttemptState.FAILED
    return replace(
        end, state=state, next_state=TaskState.FAILED, not_before=None, exit=exit_, usage=Usage(), result=None, source=None
    )  # fmt: skip


def _result_source(assignment: Assignment, facts: Mapping[str, object], now: datetime) -> Source:
    """The data source that a task's Parquet result becomes."""
    columns = facts.get("columns")
    inputs = assignment.spec.get("inputs") or ()
    return Source(
        name=str(assignment.result_name),
        format="parquet",
        path=str(facts["path"]),
        owner=assignment.owner,
        created_at=now,
        columns=tuple(SourceColumn(c["name"], c["type"]) for c in columns)
        if isinstance(columns, list)
        else (),
        row_count=_whole(facts.get("row_count")),
        size_bytes=_whole(facts.get("size_bytes")),
        job_id=assignment.key.job_id,
        lineage=tuple(str(each["name"]) for each in inputs),
        sql=assignment.spec.get("sql"),
        managed=True,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
