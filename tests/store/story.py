"""A story in which everything is said that the store can say to its database: what `recording.py` writes down.

Whoever teaches the store something new adds it to a chapter; `test_upgrades.py` names what no chapter uses.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tidegate.core.alert_rules import Level as AlertLevel
from tidegate.core.alerts import Change, Happening, Silence
from tidegate.core.attempt import AttemptEnd
from tidegate.core.identity import Action, AuditEntry, Caller, KeyRecord, Role
from tidegate.core.job import DIGEST, AttemptKey, TaskOrder
from tidegate.core.pressure import Level
from tidegate.core.readings import Readings, Sample
from tidegate.core.recovery import Cause, Crash, faulted, ordered
from tidegate.core.source import Growth, SourceColumn, SourcePart
from tidegate.core.states import AttemptState, TaskState
from tidegate.core.usage import UsageBy
from tidegate.ports import AlertFilter, AuditFilter, Draining, JobFilter, UsageFilter, WorkerPressure
from tidegate.store import SqlStore
from tidegate.testing.conformance.store_alerts import BOTH, new_alert
from tidegate.testing.conformance.store_batches import batched
from tidegate.testing.conformance.store_recovery import DIED
from tidegate.testing.conformance.store_statistics import new_report
from tidegate.testing.conformance.world import World, new_job, new_source, new_tasks


def tell(store: SqlStore) -> None:
    """Tell it. The clock stands, so that it is the same each time."""
    world = World(store)
    world.register()
    _submit(world)
    _run(world)
    _lose(world)
    _ask(world)
    _identify(world)
    _operate(world)
    _grow(world)
    _batch(world)
    _keep(world)
    _feel(world)
    _alert(world)
    _crash(world)
    _use(world)
    world.clock.advance(100)
    _forget(world)
    world.register()
    world.submit(tasks=new_tasks(6))
    _finish(world)
    store.check()
    store.resign("one", world.epoch, world.now)
    store.lead("two", world.now, 10.0)


def _submit(world: World) -> None:
    store, now = world.store, world.now
    later = now + timedelta(seconds=5)
    store.add_jobs([new_job(now, tasks=new_tasks(3), result_name=None), new_job(now, result_name="mine")])
    store.add_jobs([new_job(now, idempotency_key=f"k{i}", request_digest="d") for i in range(12)])
    store.add_jobs([new_job(now, idempotency_key="k1", request_digest="d")])
    store.add_jobs([new_job(now, not_before=later), new_job(now, not_before=later, queue="other")])
    store.add_source(new_source("a", now))
    store.add_source(new_source("B", now, managed=True, sql="select 1", lineage=("a",)))


def _run(world: World) -> None:
    store = world.store
    world.clock.advance(1)
    claimed = world.claim(world.start()[:3])
    states = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.QUEUED)
    ends = [world.end(one.key, state) for one, state in zip(claimed, states, strict=True)]
    store.report([ends[0], replace(ends[1], release=False), ends[2]])
    store.release([ends[1].key], world.now)
    key = world.claim()[0].key
    world.report(key, TaskState.SCHEDULED, not_before=world.now + timedelta(seconds=1))
    world.clock.advance(60)
    world.wake(world.now)
    key = world.claim()[0].key
    world.report(key, source=new_source("made", world.now, job_id=key.job_id))
    running = world.start()
    store.request_cancel(running[0].job_id, world.now)
    world.claim(running)
    store.request_cancel(1, world.now)


def _lose(world: World) -> None:
    store = world.store
    world.register()
    for attempt in store.lost():
        end = world.end(attempt.key, TaskState.QUEUED, state=AttemptState.LOST)
        store.report([replace(end, generation=attempt.generation, release=False)])
    store.release_kept("local", world.now)
    (seen,) = store.beats()
    store.declare_dead(seen, world.now, world.epoch)
    store.end_lost(_lost(world), world.epoch)
    world.register()
    world.beat([AttemptKey(2, 1, 1)])
    store.unclaimed(world.now)
    world.commit(world.plan(), claim=True)


def _lost(world: World) -> list[AttemptEnd]:
    return [
        world.end(one.key, TaskState.QUEUED, state=AttemptState.LOST, generation=one.generation)
        for one in world.store.lost()
    ]


def _ask(world: World) -> None:
    store = world.store
    store.changes(1)
    store.waiting_count()
    for job in store.jobs(JobFilter(limit=5)):
        store.job(job.id)
        store.tasks(job.id)
        store.events(job.id, after=3)
    store.sources(owner="ann")
    store.source("b", "ann")
    store.each_managed_path(lambda path: None)
    store.queues()
    store.queue("default")
    store.workers()
    store.held()


def _identify(world: World) -> None:
    store, caller = world.store, Caller("ann", Role.ADMIN, world.now)
    for name in ("one", "two"):
        store.add_key(KeyRecord(name, "0" * 64, "ann", Role.USER, name, world.now, "ann"), caller)
    store.touch_keys({"one": world.now})
    store.revoke_key("two", world.now, caller)
    store.all_keys()
    store.audit(AuditFilter(actor="ann"))
    store.prune_audit(world.now + timedelta(seconds=1))


def _operate(world: World) -> None:
    store = world.store
    store.set_queue("default", paused=True, weight=2)
    store.set_queue("default", no_cap=True, paused=False)
    store.delete_source("a", "ann")
    store.drain("local", Draining.ORDERED)
    store.unregister("local", world.generation, world.now)


def _grow(world: World) -> None:
    """Jobs that get tasks, a last task, larger requests; sources that get parts."""
    store = world.store
    world.register()
    store.drain("local", Draining.NO)
    store.end_lost(_lost(world), world.epoch)
    _finish(world)
    store.add_source(new_source("cities", world.now))
    old = store.source("cities", "ann")
    store.replace_source(old, replace(old, created_at=world.now, shared=True))
    store.sources_named(["cities"], "bob")
    key = world.run(last=TaskOrder("summary", {"step": 1}), max_memory_bytes=2**31)
    world.report(key, new_tasks=new_tasks(2), growths=(_growth(key, "one"),))
    first, second = [one.key for one in world.claim()]
    world.report(first, TaskState.QUEUED, next_memory_bytes=2**30)
    world.report(second, growths=(_growth(second, "two"),))
    store.live()
    _finish(world)
    store.owners_of([key.job_id, 1])
    store.owner_of(key.job_id)
    store.each_managed_path(lambda path: None, world.now)


def _growth(key: AttemptKey, load: str) -> Growth:
    part = SourcePart(f"results/parts/{load}.parquet", 3, 100, key.job_id, load, f"{load}.csv")
    return Growth("trips", "ann", part, columns=(SourceColumn("n", "BIGINT"),))


def _finish(world: World) -> None:
    """Run all that waits."""
    while claimed := world.claim():
        world.store.report([world.end(one.key) for one in claimed])


def _batch(world: World) -> None:
    """Attempts that share a sandbox end one after another, and what did not begin is put back."""
    world.submit(tasks=new_tasks(3), batch=3)
    keys = [start.key for start in world.commit(batched(world.plan()))]
    world.claim(keys)
    world.report(keys[1])
    left = [world.end(key, TaskState.QUEUED, put_back=True) for key in (keys[0], keys[2])]
    world.store.report(left)
    _finish(world)


def _keep(world: World) -> None:
    """A result is kept and is that of the next task with the same digest."""
    key = world.run(tasks=(TaskOrder("a.sql"),))
    world.report(key, digest="1" * 64, result={"rows": 3})
    world.clock.advance(1)
    known = tuple(TaskOrder(name, {DIGEST: "1" * 64}) for name in ("b.sql", "c.sql"))
    world.report(world.run(), new_tasks=(*known, TaskOrder("d.sql")))
    world.clock.advance(7200)
    world.register()
    _finish(world)
    world.submit(tasks=known[:1])


def _feel(world: World) -> None:
    """Beats tell of pressure, servers write samples, an operator changes the rules."""
    store, by = world.store, Caller("olga", Role.OPERATOR, world.now)
    readings = Readings(memory_used_percent=91.5, memory_free_bytes=2.0**30)
    minute = Sample(world.now, readings, 2)
    worker = replace(
        world.worker, pressure=WorkerPressure(Level.CRITICAL, world.now, readings, minute), stats={"pid": 8}
    )
    for _ in range(2):
        store.beat(worker, world.generation, world.now, 60.0, ())
        store.add_sample("server:one", minute)
    store.samples(None, world.now, world.now + timedelta(minutes=1))
    store.samples("server:one", world.now, world.now + timedelta(minutes=1))
    store.pressure_rules()
    store.set_pressure_rules({"levels": {"warn": {"most_page": 20}}}, world.now, by)
    store.set_pressure_rules({}, world.now, by)
    store.add_audit([AuditEntry(world.now, "service", Role.ADMIN, Action.ACT_ON_PRESSURE, "worker:local")])
    store.workers()
    store.waiting_count()


def _alert(world: World) -> None:
    """An episode is raised, told, acknowledged, told again and over; another one is silenced."""
    store, by = world.store, Caller("olga", Role.OPERATOR, world.now)
    until = world.now + timedelta(seconds=60)
    changes = [Change(new_alert(world.now, subject=name), Happening.RAISED) for name in ("one", "two")]
    first, _ = store.record_alerts(changes, BOTH, world.epoch)
    store.record_alerts([changes[0]], BOTH, world.epoch)
    for channel, again_at in (("mail", until), ("hook", None)):
        notice = store.claim_notice(channel, world.now, until)
        assert notice is not None
        store.end_notice(notice, world.now, "no answer", again_at)
    notice = store.claim_notice("mail", world.now, until)
    assert notice is not None
    store.end_notice(notice, world.now)
    store.note_channel("pager", world.now, None)
    store.channel_states()
    seen = store.acknowledge_alert(first.id, world.now, by, "on it")
    over = replace(seen, resolved_at=world.now, value=None, told_count=2)
    store.record_alerts([Change(over, Happening.RESOLVED)], BOTH, world.epoch)
    store.notices(first.id)
    store.open_alerts()
    store.alerts(AlertFilter(level=AlertLevel.SEVERE, rule="memory", state="active"))
    store.alert(first.id)
    silence = store.add_silence(Silence("memory", None, "known", "olga", world.now, until), by)
    store.silences(world.now)
    store.end_silence(silence.id, world.now, by)
    store.change_rule("memory", {"hold_s": 5.0}, world.now, by)
    store.change_rule("memory", {"slack": 0.1}, world.now, by)
    store.rule_changes()
    store.change_rule("memory", None, world.now, by)
    store.work_done(world.now - timedelta(days=1), world.now)


def _crash(world: World) -> None:
    """A server that is found dead, its crashes, safe mode, and a task that ends what is around it."""
    store, by = world.store, Caller("olga", Role.OPERATOR, world.now)
    for place in ("here", "here", "there"):
        store.begin(place, world.now)
    store.end("there")
    store.add_crash(Crash("here", "zygote", world.now, "it ended"))
    store.crashes(world.now - timedelta(seconds=600))
    store.set_safe_mode(faulted(store.safe_mode(), Cause.CRASHES, "Six crashes.", world.now))
    store.set_safe_mode(ordered(store.safe_mode(), "olga", "a test", world.now), by)
    store.safe_mode()
    key = world.run(owner="ann")
    world.report(key, TaskState.FAILED, exit=DIED, quarantined=True)
    store.quarantined(before=key.task)
    store.quarantined()
    store.quarantined_task(key.task)
    store.release_task(key.task, world.now, by)


def _use(world: World) -> None:
    """What was used is asked for, before and after it is added up; others tell what they used."""
    store, now = world.store, world.now
    day = timedelta(days=1)
    for by in UsageBy:
        store.usage(UsageFilter(by, now - day, now + day))
    store.count_usage(now + day)
    store.usage(UsageFilter(UsageBy.KIND, now - day, now + day, owner="ann"))
    store.audit(AuditFilter(since=now - day, until=now + day))
    for report in (new_report(now), new_report(now), new_report(now + day, version="2")):
        store.add_report(report)
    store.report_summary(None, now, now + 9 * day)
    store.report_summary("ann", now, now + 9 * day)


def _forget(world: World) -> None:
    """Everything has its time."""
    store, now = world.store, world.now
    store.prune(now)
    store.prune_alerts(now)
    store.prune_audit(now)
    store.prune_samples(now)
    store.prune_crashes(now)
    store.prune_runs(now)
    store.prune_kept(now - timedelta(days=1), 1)
    store.prune_archive(now)
    store.usage(UsageFilter(UsageBy.USER, now - timedelta(days=1), now + timedelta(days=1)))
    store.prune_usage(now + timedelta(days=1))
    store.prune_reports(now + timedelta(days=9))
