"""`SqlStore`: the ports of `tidegate.ports` over one database. Each method is one transaction of a function next door."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Silence
from tidegate.core.attempt import AttemptEnd, Claimed, Recorded
from tidegate.core.identity import AuditEntry, Caller, KeyRecord
from tidegate.core.job import AttemptKey, NewJob, TaskKey
from tidegate.core.membership import Beat
from tidegate.core.plan import Plan, Start
from tidegate.core.readings import Sample
from tidegate.core.recovery import Crash, SafeMode
from tidegate.core.source import Source
from tidegate.core.states import TaskState
from tidegate.core.usage import UsageRecord
from tidegate.errors import InvalidInput
from tidegate.ports import (
    MOST_HOURS,
    Accepted,
    AlertFilter,
    AuditFilter,
    BeatAnswer,
    Cancelled,
    ChangedRules,
    Changes,
    ChannelState,
    Draining,
    Event,
    Held,
    JobFilter,
    JobRecord,
    LiveAttempt,
    LostAttempt,
    Notice,
    PoolStats,
    Quarantined,
    QueueRecord,
    Report,
    ReportSummary,
    RuleChange,
    RuleChanges,
    TaskRecord,
    UsageFilter,
    WorkDone,
    WorkerInfo,
    WorkerRecord,
)
from tidegate.store import (
    alerts,
    archive,
    attempts,
    audit,
    care,
    clock,
    jobs,
    kept,
    keys,
    leaders,
    notices,
    quarantine,
    queues,
    readings,
    records,
    recovery,
    releases,
    reports,
    rescue,
    schedule,
    sources,
    statistics,
    usage,
    workers,
)
from tidegate.store.dialects import open_database
from tidegate.store.engine import Duplicate, Unstorable
from tidegate.store.pool import Pool
from tidegate.store.values import to_micros
from tidegate.store.versions import NewerDatabase, prepare

_UNSTORABLE = (TypeError, ValueError, RecursionError, Duplicate, Unstorable)


class SqlStore:
    """The store on a database. Thread-safe; every method blocks.

    `url` is SQLAlchemy's, such as `sqlite:////data/tidegate.db`. `max_concurrent` caps the running tasks of each queue
    that has no cap of its own; None: no cap. `archive_by_month` divides the archive by months, on PostgreSQL; it stays so
    from then on. With `allow_newer` a database that a newer Tidegate has made is opened as it is, and `mismatch` says so: one
    can read it and cancel, if its tables still have what this version knows. Raises SettingError for a database that cannot be
    used, Unavailable when it cannot be reached or was made by a newer Tidegate.
    """

    def __init__(
        self,
        url: str,
        *,
        max_concurrent: int | None = None,
        pool: Pool | None = None,
        archive_by_month: bool = False,
        allow_newer: bool = False,
    ) -> None:
        self._db = open_database(url, pool or Pool())
        self._cap = max_concurrent
        self.mismatch: str | None = None
        """What is wrong with the version of the tables, if anything is."""
        try:
            prepare(self._db, url, archive_by_month=archive_by_month)
        except NewerDatabase as error:
            if not allow_newer:
                self._db.close()
                raise
            self.mismatch = error.message
        except BaseException:
            self._db.close()
            raise

    # Jobs

    def add_jobs(self, jobs: Sequence[NewJob]) -> list[Accepted | Exception]:
        try:
            return self._db.write(_add_jobs, jobs)
        except _UNSTORABLE as error:
            if len(jobs) == 1:
                return [_unstorable(error)]
        # One of them cannot be written (text that is no Unicode, a spec that is no JSON): find it.
        half = len(jobs) // 2
        return self.add_jobs(jobs[:half]) + self.add_jobs(jobs[half:])

    def request_cancel(self, job_id: int, at: datetime, by: Caller | None = None) -> Cancelled:
        return self._db.write(jobs.request_cancel, job_id, at, by)

    def job(self, job_id: int) -> JobRecord:
        return self._db.read(records.one_job, job_id)

    def owner_of(self, job_id: int) -> str:
        return self._db.read(records.owner_of, job_id)

    def owners_of(self, job_ids: Iterable[int]) -> dict[int, str]:
        return self._db.read(records.owners_of, job_ids)

    def jobs(self, filter: JobFilter) -> list[JobRecord]:
        return self._db.read(records.list_jobs, filter)

    def tasks(
        self, job_id: int, *, after: int = 0, limit: int = 100, state: TaskState | None = None
    ) -> list[TaskRecord]:
        return self._db.read(records.list_tasks, job_id, after, limit, state)

    def events(self, job_id: int, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return self._db.read(records.list_events, job_id, after, limit)

    def waiting_count(self) -> int:
        return self._db.read(records.waiting_count)

    # Schedule

    def changes(self, cursor: int) -> Changes:
        return self._db.read(schedule.changes, cursor, self._cap)

    def commit(self, plan: Plan, at: datetime, epoch: int, *, claim: bool = False) -> list[Start]:
        return self._db.write(schedule.commit, plan, at, epoch, self._cap, claim=claim)

    def wake_scheduled(self, now: datetime, epoch: int) -> datetime | None:
        return self._db.write(schedule.wake_scheduled, now, epoch)

    # Leading

    def lead(self, holder: str, at: datetime, lease_s: float) -> int | None:
        return self._db.write(leaders.lead, holder, at, lease_s)

    def seize(self, holder: str, at: datetime, lease_s: float) -> int:
        return self._db.write(leaders.seize, holder, at, lease_s)

    def resign(self, holder: str, epoch: int, at: datetime) -> bool:
        return self._db.write(leaders.resign, holder, epoch, at)

    # Attempts

    def register(self, worker: WorkerInfo, at: datetime, lease_s: float) -> int:
        return self._db.write(attempts.register, worker, at, lease_s)

    def beat(
        self,
        worker: WorkerInfo,
        generation: int,
        at: datetime,
        lease_s: float,
        running: Collection[AttemptKey],
    ) -> BeatAnswer | None:
        return self._db.write(attempts.beat, worker, generation, at, lease_s, running)

    def unregister(self, worker_id: str, generation: int, at: datetime) -> bool:
        return self._db.write(attempts.unregister, worker_id, generation, at)

    def claim(self, worker_id: str, generation: int, keys: Sequence[AttemptKey], at: datetime) -> Claimed:
        return self._db.write(attempts.claim, worker_id, generation, keys, at)

    def report(self, ends: Sequence[AttemptEnd]) -> Recorded:
        try:
            return self._db.write(reports.report, ends)
        except Duplicate:  # a source's name is taken, which is rare enough not to look for it each time
            return self._db.write(reports.report, ends, look_for_names=True)

    def release(self, keys: Sequence[AttemptKey], at: datetime) -> int:
        return self._db.write(releases.release, keys, to_micros(at))

    def release_kept(self, worker_id: str, at: datetime) -> int:
        return self._db.write(releases.release_kept, worker_id, to_micros(at))

    def unclaimed(self, before: datetime, worker_id: str | None = None) -> list[Start]:
        return self._db.read(attempts.unclaimed, before, worker_id)

    # Rescue

    def beats(self) -> list[Beat]:
        return self._db.read(rescue.beats)

    def declare_dead(self, beat: Beat, at: datetime, epoch: int) -> bool:
        return self._db.write(rescue.declare_dead, beat, at, epoch)

    def lost(self) -> list[LostAttempt]:
        return self._db.read(rescue.lost)

    def end_lost(self, ends: Sequence[AttemptEnd], epoch: int) -> Recorded:
        return self._db.write(rescue.end_lost, ends, epoch)

    # Sources

    def add_source(self, source: Source, by: Caller | None = None) -> None:
        self._db.write(sources.add_source, source, by)

    def replace_source(self, old: Source, new: Source, by: Caller | None = None) -> None:
        self._db.write(sources.replace_source, old, new, by)

    def source(self, name: str, reader: str) -> Source:
        return self._db.read(sources.one_source, name, reader)

    def sources(
        self,
        *,
        reader: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Source]:
        return self._db.read(sources.list_sources, reader, owner, name, after, limit)

    def sources_named(self, names: Iterable[str], reader: str) -> list[Source]:
        return self._db.read(sources.sources_named, names, reader)

    def delete_source(self, name: str, owner: str, by: Caller | None = None) -> Source:
        return self._db.write(sources.delete_source, name, owner, by)

    def each_managed_path(self, see: Callable[[str], None], answered_before: datetime | None = None) -> None:
        self._db.read(sources.each_managed_path, see, answered_before)

    # Queues

    def queues(self) -> list[QueueRecord]:
        return self._db.read(queues.all_queues, self._cap)

    def queue(self, name: str) -> QueueRecord:
        return self._db.read(queues.one_queue, name, self._cap)

    def set_queue(
        self,
        name: str,
        *,
        paused: bool | None = None,
        max_concurrent: int | None = None,
        no_cap: bool = False,
        weight: int | None = None,
        by: Caller | None = None,
    ) -> QueueRecord:
        return self._db.write(
            queues.set_queue,
            name,
            self._cap,
            paused=paused,
            max_concurrent=max_concurrent,
            no_cap=no_cap,
            weight=weight,
            by=by,
        )

    # Workers

    def workers(self) -> list[WorkerRecord]:
        return self._db.read(workers.workers_of)

    def drain(self, worker_id: str, draining: Draining, by: Caller | None = None) -> WorkerRecord:
        return self._db.write(workers.drain, worker_id, draining, by)

    def live(self) -> list[LiveAttempt]:
        return self._db.read(workers.live)

    def held(self) -> list[Held]:
        return self._db.read(workers.held)

    # Recovery

    def begin(self, place: str, at: datetime) -> datetime | None:
        return self._db.write(recovery.begin, place, at)

    def end(self, place: str) -> None:
        self._db.write(recovery.end, place)

    def add_crash(self, crash: Crash) -> None:
        self._db.write(recovery.add_crash, crash)

    def crashes(self, since: datetime) -> list[Crash]:
        return self._db.read(recovery.list_crashes, since)

    def prune_crashes(self, before: datetime) -> int:
        return self._db.write(recovery.prune_crashes, before)

    def prune_runs(self, before: datetime) -> int:
        return self._db.write(recovery.prune_runs, before)

    def safe_mode(self) -> SafeMode:
        return self._db.read(recovery.read_mode)

    def set_safe_mode(self, state: SafeMode, by: Caller | None = None) -> bool:
        return self._db.write(recovery.change_mode, state, by)

    def quarantined(self, *, before: TaskKey | None = None, limit: int = 50) -> list[Quarantined]:
        return self._db.read(quarantine.list_quarantined, before, limit)

    def quarantined_task(self, key: TaskKey) -> Quarantined:
        return self._db.read(quarantine.one_quarantined, key)

    def release_task(self, key: TaskKey, at: datetime, by: Caller | None = None) -> int:
        return self._db.write(quarantine.release_task, key, at, by)

    # Keys and the audit trail

    def add_key(self, key: KeyRecord, by: Caller | None = None) -> None:
        self._db.write(keys.add_key, key, by)

    def all_keys(self) -> list[KeyRecord]:
        return self._db.read(keys.all_keys)

    def revoke_key(self, key_id: str, at: datetime, by: Caller | None = None) -> KeyRecord:
        return self._db.write(keys.revoke_key, key_id, at, by)

    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        self._db.write(keys.touch_keys, used)

    def add_audit(self, entries: Sequence[AuditEntry]) -> None:
        self._db.write(audit.add_audit, entries)

    def audit(self, filter: AuditFilter) -> list[AuditEntry]:
        return self._db.read(audit.list_audit, filter)

    def prune_audit(self, before: datetime) -> int:
        count = 0
        while pruned := self._db.write(audit.prune_audit, before):
            count += pruned
        return count

    # Alerts

    def open_alerts(self) -> list[Alert]:
        return self._db.read(alerts.open_alerts)

    def alerts(self, filter: AlertFilter) -> list[Alert]:
        return self._db.read(alerts.list_alerts, filter)

    def alert(self, alert_id: int) -> Alert:
        return self._db.read(alerts.one_alert, alert_id)

    def record_alerts(
        self, changes: Sequence[Change], channels: Mapping[str, Level], epoch: int
    ) -> list[Alert]:
        return self._db.write(alerts.record_alerts, changes, channels, epoch)

    def acknowledge_alert(self, alert_id: int, at: datetime, by: Caller, note: str = "") -> Alert:
        return self._db.write(alerts.acknowledge_alert, alert_id, at, by, note)

    def silences(self, at: datetime | None = None) -> list[Silence]:
        return self._db.read(alerts.silences, at)

    def add_silence(self, silence: Silence, by: Caller) -> Silence:
        return self._db.write(alerts.add_silence, silence, by)

    def end_silence(self, silence_id: int, at: datetime, by: Caller) -> Silence:
        return self._db.write(alerts.end_silence, silence_id, at, by)

    def rule_changes(self) -> list[RuleChange]:
        return self._db.read(alerts.rule_changes)

    def change_rule(self, rule: str, changes: RuleChanges | None, at: datetime, by: Caller) -> None:
        self._db.write(alerts.change_rule, rule, changes, at, by)

    def notices(self, alert_id: int) -> list[Notice]:
        return self._db.read(notices.notices, alert_id)

    def claim_notice(self, channel: str, at: datetime, until: datetime) -> Notice | None:
        return self._db.write(notices.claim_notice, channel, at, until)

    def end_notice(
        self, notice: Notice, at: datetime, error: str | None = None, again_at: datetime | None = None
    ) -> bool:
        return self._db.write(notices.end_notice, notice, at, error, again_at)

    def channel_states(self) -> list[ChannelState]:
        return self._db.read(notices.channel_states)

    def note_channel(self, name: str, at: datetime, error: str | None) -> None:
        self._db.write(notices.note_channel, name, at, error)

    def work_done(self, since: datetime, until: datetime) -> WorkDone:
        return self._db.read(alerts.work_done, since, until)

    def prune_alerts(self, before: datetime) -> int:
        count = 0
        while pruned := self._db.write(alerts.prune_alerts, before):
            count += pruned
        return count

    # Readings

    def add_sample(self, place: str, sample: Sample) -> None:
        try:
            self._db.write(readings.add_sample, place, sample)
        except Duplicate:  # by another server of this machine, meanwhile
            self._db.write(readings.add_sample, place, sample)

    def samples(self, place: str | None, since: datetime, until: datetime) -> Sequence[tuple[str, Sample]]:
        return self._db.read(readings.list_samples, place, since, until)

    def prune_samples(self, before: datetime) -> int:
        return self._db.write(readings.prune_samples, before)

    def pressure_rules(self) -> ChangedRules | None:
        return self._db.read(readings.changed_rules)

    def set_pressure_rules(
        self, changes: Mapping[str, Any], at: datetime, by: Caller | None = None
    ) -> ChangedRules:
        return self._db.write(readings.set_changed_rules, changes, at, by)

    # Usage

    def usage(self, filter: UsageFilter) -> list[UsageRecord]:
        return self._db.read(usage.usage, filter)

    def count_usage(self, before: datetime, most: int = MOST_HOURS) -> int:
        hours = self._db.read(usage.changed_hours, before)[:most]
        for hour in hours:
            sums = self._db.read(usage.spent_in, hour)  # may take seconds, so nobody waits for it
            with contextlib.suppress(Duplicate):  # another server has done it meanwhile
                self._db.write(usage.keep_sums, hour, sums)
        return len(hours)

    def prune_usage(self, before: datetime) -> int:
        return self._db.write(usage.prune_usage, before)

    def add_report(self, report: Report, by: Caller | None = None) -> bool:
        try:
            return self._db.write(statistics.add_report, report, by)
        except Duplicate:  # sent twice at the same time
            return self._db.write(statistics.add_report, report, by)

    def report_summary(self, owner: str | None, since: datetime, until: datetime) -> ReportSummary:
        return self._db.read(statistics.summary, owner, since, until)

    def prune_reports(self, before: datetime) -> int:
        return self._db.write(statistics.prune_reports, before)

    # Care

    def prune(self, before: datetime) -> int:
        count = 0
        while pruned := self._prune_some(before):
            count += len(pruned)
        return count

    def _prune_some(self, before: datetime) -> list[int]:
        try:
            return self._db.write(care.prune, before)
        except Duplicate:  # another server was the first to forget jobs of the same hour
            return self._db.write(care.prune, before)

    def time(self) -> datetime:
        return self._db.read(clock.time)

    def prune_archive(self, before: datetime) -> int:
        count = 0
        while pruned := self._db.write(archive.prune_archive, before):
            count += pruned[0]
        return count

    def prune_kept(self, before: datetime, most_bytes: int) -> int:
        count = 0
        while pruned := self._db.write(kept.prune_kept, before, most_bytes):
            count += pruned
        return count

    def check(self) -> None:
        self._db.read(care.check)

    def pools(self) -> list[PoolStats]:
        """Of each engine in use, its connections. Does not block."""
        return [self._db.stats()]

    def close(self) -> None:
        self._db.close()


_add_jobs = jobs.add_jobs  # inside the class `jobs` is the method


def _unstorable(error: Exception) -> InvalidInput:
    return InvalidInput(
        f"The job cannot be stored: {error}. Send plain JSON values and valid Unicode.", code="unstorable"
    )


def open_store(
    url: str,
    *,
    max_concurrent: int | None = None,
    pool: Pool | None = None,
    archive_by_month: bool = False,
    allow_newer: bool = False,
) -> SqlStore:
    """Open the database of record, creating or upgrading its tables first."""
    return SqlStore(
        url,
        max_concurrent=max_concurrent,
        pool=pool,
        archive_by_month=archive_by_month,
        allow_newer=allow_newer,
    )
