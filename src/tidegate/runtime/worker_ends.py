"""How the end of a sandbox becomes the end of an attempt: what it made is published, what follows is decided."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegate.core.attempt import Assignment, AttemptEnd, Exit, Usage
from tidegate.core.job import DIGEST, AttemptKey, TaskOrder
from tidegate.core.names import check_source_name
from tidegate.core.resources import format_bytes
from tidegate.core.retry import Decision, Losses, Memory, decide, quarantined
from tidegate.core.source import Growth, Source, SourceColumn, SourcePart
from tidegate.core.states import KEEPER_DIED, AttemptState, ExitReason, TaskState
from tidegate.ports import KEEP
from tidegate.runtime.publish import (
    DataFolders,
    publish_file,
    publish_folder,
    remove_published,
    sync_folder,
)
from tidegate.runtime.sandbox import SandboxEnd
from tidegate.runtime.task_file import FILE_NAME, BadTasks, TaskFile
from tidegate.runtime.worker_state import Running

_ASK_FOR_MORE = "Ask for more with `memory`."
CANCELLED_UNSTARTED = Exit(ExitReason.CANCELLED, "Cancelled before its worker had started it.")
UNBEGUN = Exit(ExitReason.LEASE_EXPIRED, "The attempt did not begin on its worker; it will run again.")
BATCH_ENDED = Exit(
    ExitReason.LEASE_EXPIRED,
    "The attempt did not begin: the sandbox that it was to share ended before its turn. It will run again.",
)
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
    growths: tuple[Growth, ...] = ()
    new_tasks: Collection[TaskOrder] = ()
    digest: str | None = None


class Results:
    """Files that are in place but not yet named by a commit. The kinds in `expanding` may add tasks to their jobs."""

    def __init__(self, folders: DataFolders, expanding: Collection[str] = ()) -> None:
        self._folders = folders
        self._expanding = frozenset(expanding)
        self._published: dict[AttemptKey, list[Path]] = {}
        self._doubtful: set[AttemptKey] = set()
        self._unsynced: set[Path] = set()

    def outcome(self, end: SandboxEnd, assignment: Assignment, now: datetime) -> Outcome:
        """Publish what a success has made. What cannot be published is a failure that says so."""
        if not end.succeeded:
            lost = end.exit is not None and end.exit.reason is ExitReason.LEASE_EXPIRED
            return Outcome(AttemptState.LOST if lost else AttemptState.FAILED, end.exit)
        try:
            made = self._publish(end, assignment, now)
            digest = _digest(end, assignment)
            return replace(made, new_tasks=self._new_tasks(end, assignment), digest=digest)
        except BadTasks as error:
            return Outcome(AttemptState.FAILED, Exit(ExitReason.ERROR, error.message, code=error.code))
        except Exception as error:  # noqa: BLE001 - what a job reports may be anything; the other ends must not suffer
            refusal = Exit(ExitReason.ERROR, f"The result could not be published: {error}", code="bad_result")
            return Outcome(AttemptState.FAILED, refusal)

    def _new_tasks(self, end: SandboxEnd, assignment: Assignment) -> Collection[TaskOrder]:
        """What the attempt adds to its job. Its folder may be cleared at once: the file stays open."""
        if assignment.kind not in self._expanding:
            return ()
        left = next((path for path in self._published.get(end.key, ()) if path.is_dir()), None)
        folder = None if left is None else str(left.relative_to(self._folders.root))
        try:
            return TaskFile(f"{self._folders.attempt(end.key)}/staging/{FILE_NAME}", folder)
        except FileNotFoundError:
            return ()

    def sync(self) -> None:
        """Make what was published outlive a power cut; once for all that came together."""
        while self._unsynced:
            sync_folder(self._unsynced.pop())

    def doubt(self, keys: Collection[AttemptKey]) -> None:
        """Their report broke off, so it may have been stored all the same."""
        self._doubtful |= self._published.keys() & keys

    def settle(self, reported: Collection[AttemptKey], named: Collection[AttemptKey]) -> None:
        """Forget files that a commit named; remove the others, since a cancel or a newer attempt came first.

        A file whose first report broke off may have been named by it: that one is left to the janitor.
        """
        for key in self._published.keys() & set(reported):
            paths = self._published.pop(key)
            if key not in named and key not in self._doubtful:
                for path in paths:
                    remove_published(path)
            self._doubtful.discard(key)

    def _publish(self, end: SandboxEnd, assignment: Assignment, now: datetime) -> Outcome:
        facts = dict(end.result or {})
        # Code of users can write the report: where a result lies is said by who has put it there.
        facts.pop("path", None)
        facts.pop("source", None)
        facts.pop(KEEP, None)
        file, folder = facts.pop("file", None), facts.pop("folder", None)
        if file is None and folder is None:
            return _succeeded(facts)
        grows = assignment.spec.get("grows")
        if grows is not None:
            return self._publish_parts(assignment, grows, str(file), facts)
        if folder is not None:
            path = publish_folder(self._folders, end.key, str(folder))
        else:
            path = publish_file(self._folders, end.key, str(file))
        self._placed(end.key, path)
        facts["path"] = str(path.relative_to(self._folders.root))
        facts.setdefault("size_bytes", path.stat().st_size)
        if not assignment.result_name or folder is not None:
            return _succeeded(facts)
        facts["source"] = assignment.result_name
        return _succeeded(facts, _result_source(assignment, facts, now))

    def _publish_parts(
        self, assignment: Assignment, grows: Mapping[str, Any], file: str, facts: dict[str, object]
    ) -> Outcome:
        """What an ingest into a source adds to it, and its bad rows to the source beside it.

        Which source, and how, is said by the order; what was loaded, by the report. Paths stay out of that: a part belongs to
        its source, and goes with it.
        """
        check_source_name(grows["name"])  # a task that another has added names its source itself
        check_source_name(grows["bad_rows"])
        growths = [self._growth(assignment, grows, file, facts)]
        bad_file, bad_columns = facts.pop("bad_rows_file", None), facts.pop("bad_rows_columns", None)
        if bad_file is not None:
            bad = {**facts, "columns": bad_columns, "rows": facts.get("bad_entries")}
            growths.append(self._growth(assignment, {**grows, "name": grows["bad_rows"]}, str(bad_file), bad))
            facts["bad_rows_table"] = grows["bad_rows"]
        facts["source"] = grows["name"]
        return Outcome(AttemptState.SUCCEEDED, None, facts, growths=tuple(growths))

    def _growth(
        self, assignment: Assignment, grows: Mapping[str, Any], file: str, facts: Mapping[str, object]
    ) -> Growth:
        path = publish_file(self._folders, assignment.key, file, self._folders.parts)
        self._placed(assignment.key, path)
        part = SourcePart(
            path=str(path.relative_to(self._folders.root)),
            row_count=_whole(facts.get("rows")) or 0,
            size_bytes=path.stat().st_size,
            job_id=assignment.key.job_id,
            load=str(facts.get("load", "")),
            name=str(facts.get("input", ""))[:300],
        )
        return Growth(
            name=str(grows["name"]),
            owner=assignment.owner,
            part=part,
            columns=_columns(facts.get("columns")),
            replace=bool(grows.get("replace")),
            again=bool(grows.get("again")),
        )

    def _placed(self, key: AttemptKey, path: Path) -> None:
        self._published.setdefault(key, []).append(path)
        self._unsynced.add(path.parent)


class Ends:
    """Makes the ends that a worker reports."""

    def __init__(self, worker_id: str, max_losses: Losses, largest_bytes: Callable[[], int]) -> None:
        """`largest_bytes` is the memory that this worker can give to one attempt."""
        self._worker_id = worker_id
        self._largest_bytes = largest_bytes
        self._max_losses = max_losses
        self._jitter = random.Random()  # spreads retries only

    def of_running(
        self, running: Running, outcome: Outcome, end: SandboxEnd | None, now: datetime, *, stopping: bool
    ) -> AttemptEnd:
        """Of what ran, or should have run; `stopping` when an orderly stop is under way."""
        put_back = stopping and outcome.state is AttemptState.LOST
        usage = Usage() if end is None else replace(end.usage, enforced_by=end.enforced_by)
        follows = (
            Decision(TaskState.QUEUED)
            if put_back
            else self._next(running.assignment, outcome.exit, usage.peak_memory_bytes, now)
        )
        return AttemptEnd(
            key=running.assignment.key,
            worker_id=self._worker_id,
            generation=running.generation,
            state=outcome.state,
            ended_at=now,
            next_state=follows.state,
            not_before=follows.not_before,
            exit=_with_what_follows(outcome.exit, follows, running.assignment.losses + 1),
            usage=usage,
            result=outcome.result,
            source=outcome.source,
            growths=outcome.growths,
            release=end is None or end.tree_gone,
            put_back=put_back,
            quarantined=follows.quarantined,
            next_memory_bytes=follows.memory_bytes,
            new_tasks=outcome.new_tasks,
            digest=outcome.digest,
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

    def of_batch(self, running: Running, now: datetime, *, gone: bool) -> AttemptEnd:
        """Of one whose batch ended before its turn, because of another one or because it had run for long enough."""
        end = self.of_unbegun(running.assignment.key, running.generation, now, put_back=True)
        return replace(end, exit=BATCH_ENDED, release=gone)

    def _next(
        self, assignment: Assignment, exit: Exit | None, peak_bytes: int | None, now: datetime
    ) -> Decision:
        return decide(
            exit.reason if exit else None,
            attempt=assignment.key.attempt,
            losses=assignment.losses,
            put_back=assignment.put_back,
            max_attempts=assignment.max_attempts,
            max_losses=self._max_losses.of(assignment.kind),
            now=now,
            jitter=self._jitter.uniform(-1.0, 1.0),
            memory=self._memory(assignment, peak_bytes or 0),
            keeper_died=exit is not None and exit.code == KEEPER_DIED,
        )

    def _memory(self, assignment: Assignment, peak_bytes: int) -> Memory:
        asked_bytes = assignment.resources.memory_bytes
        ceiling_bytes = min(assignment.max_memory_bytes or asked_bytes, self._largest_bytes())
        return Memory(asked_bytes, peak_bytes, ceiling_bytes, assignment.memory_raises)


def _with_what_follows(exit: Exit | None, follows: Decision, losses: int) -> Exit | None:
    if exit is not None and follows.quarantined:
        return quarantined(exit, losses)
    if exit is None or follows.memory_bytes is None:
        return exit
    more = f"It is tried again with {format_bytes(follows.memory_bytes)}."
    return replace(exit, message=f"{exit.message.removesuffix(_ASK_FOR_MORE)}{more}")


def plain(end: AttemptEnd) -> AttemptEnd:
    """The end without anything that a job had a hand in."""
    exit_ = Exit(
        ExitReason.ERROR,
        "How the attempt ended could not be recorded; the server's log says why.",
        code="bad_report",
    )
    state = AttemptState.LOST if end.state is AttemptState.LOST else AttemptState.FAILED
    return replace(
        end, state=state, next_state=TaskState.FAILED, not_before=None, exit=exit_, usage=Usage(), result=None, source=None,
        growths=(), quarantined=False, next_memory_bytes=None, new_tasks=(), digest=None,
    )  # fmt: skip


def _digest(end: SandboxEnd, assignment: Assignment) -> str | None:
    """What to keep the result under, if its runner says that it may be kept. It may not say as what: code of users could have
    said it, and so have answered for other files."""
    return assignment.spec.get(DIGEST) if (end.result or {}).get(KEEP) is True else None


def _succeeded(facts: Mapping[str, object], source: Source | None = None) -> Outcome:
    return Outcome(AttemptState.SUCCEEDED, None, facts, source)


def _columns(columns: object) -> tuple[SourceColumn, ...]:
    return tuple(SourceColumn(c["name"], c["type"]) for c in columns) if isinstance(columns, list) else ()


def _result_source(assignment: Assignment, facts: Mapping[str, object], now: datetime) -> Source:
    """The data source that a task's Parquet result becomes."""
    inputs = assignment.spec.get("inputs") or ()
    return Source(
        name=str(assignment.result_name),
        format="parquet",
        path=str(facts["path"]),
        owner=assignment.owner,
        created_at=now,
        columns=_columns(facts.get("columns")),
        row_count=_whole(facts.get("row_count")),
        size_bytes=_whole(facts.get("size_bytes")),
        job_id=assignment.key.job_id,
        lineage=tuple(str(each["name"]) for each in inputs),
        sql=assignment.spec.get("sql"),
        managed=True,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
