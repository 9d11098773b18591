"""What every `KeyStore` and `AuditStore` does, and who sees which sources."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tidegate.core.identity import Action, AuditEntry, Caller, KeyRecord, Role, entry
from tidegate.errors import Conflict, NotFound
from tidegate.ports import AuditFilter, Draining, Store
from tidegate.testing.conformance.world import World, new_job, new_source, new_tasks


def new_key_record(key_id: str, at: datetime, **changes: Any) -> KeyRecord:
    """The record of a key that nobody has."""
    fields: dict[str, Any] = {
        "id": key_id,
        "digest": "0" * 64,
        "owner": "ann",
        "role": Role.USER,
        "name": "laptop",
        "created_at": at,
        "created_by": "root",
    }
    return KeyRecord(**{**fields, **changes})


def new_caller(at: datetime, owner: str = "ann", role: Role = Role.USER) -> Caller:
    """Somebody who asks."""
    return Caller(owner, role, at, "0a1b2c3d4e", "request-7", "192.0.2.7")


class IdentityStoreConformance:
    """Keys, audit and owners."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_key_reads_back_as_added(self, world: World) -> None:
        first = new_key_record("0000000001", world.now, expires_at=world.now + timedelta(days=1))
        second = new_key_record(
            "0000000000", world.clock.advance(1), role=Role.ADMIN, owner="b.c@example.com"
        )
        for key in (first, second):
            world.store.add_key(key)
        assert world.store.all_keys() == [first, second]
        with pytest.raises(Conflict):
            world.store.add_key(first)

    def test_a_revoked_key_stays_so(self, world: World) -> None:
        world.store.add_key(new_key_record("0000000001", world.now))
        by = new_caller(world.now, "root", Role.ADMIN)
        revoked = world.store.revoke_key("0000000001", world.now, by)
        again = world.store.revoke_key("0000000001", world.clock.advance(5), by)
        assert (revoked.revoked_at, revoked.revoked_by) == (by.at, "root")
        assert again == revoked
        assert world.store.all_keys() == [revoked]
        assert not revoked.valid(world.now)
        with pytest.raises(NotFound):
            world.store.revoke_key("ffffffffff", world.now, by)
        assert [row.action for row in world.store.audit(AuditFilter())] == [Action.REVOKE_KEY]

    def test_the_last_use_only_moves_forward(self, world: World) -> None:
        world.store.add_key(new_key_record("0000000001", world.now))
        later = world.now + timedelta(seconds=7)
        world.store.touch_keys({"0000000001": later, "ffffffffff": later})
        world.store.touch_keys({"0000000001": world.now})
        world.store.touch_keys({})
        assert [key.last_used_at for key in world.store.all_keys()] == [later]

    def test_what_was_done_is_found_newest_first(self, world: World) -> None:
        ann, bob = new_caller(world.now), new_caller(world.now, "bob", Role.OPERATOR)
        rows = [
            entry(ann, Action.CANCEL, "job 1"),
            entry(
                bob, Action.CONTROL_WORKER, "worker local", outcome="failed", detail={"action": "shutdown"}
            ),
            entry(bob, Action.CANCEL, "job 2"),
        ]
        world.store.add_audit(rows)
        world.store.add_audit([])
        found = world.store.audit(AuditFilter())
        assert [_without_id(row) for row in found] == rows[::-1]
        assert [row.id for row in found] == sorted((row.id for row in found), reverse=True)
        assert [row.object for row in world.store.audit(AuditFilter(actor="bob", action=Action.CANCEL))] == [
            "job 2"
        ]
        assert [row.actor for row in world.store.audit(AuditFilter(object="job 1"))] == ["ann"]
        assert world.store.audit(AuditFilter(before_id=found[0].id, limit=1)) == [found[1]]

    def test_rows_are_found_by_time_also_those_written_late(self, world: World) -> None:
        """An upload is written at its end with the instant at which it was begun."""
        begun, hour = world.now, timedelta(hours=1)
        at_hours = [*range(0, 96, 4), 72.5, *range(96, 120, 4)]
        callers = [(hours, new_caller(begun + hours * hour)) for hours in at_hours]
        world.store.add_audit([entry(by, Action.CANCEL, f"job {hours}") for hours, by in callers])

        def found(**filter: Any) -> list[str]:
            return [row.object for row in world.store.audit(AuditFilter(**filter))]

        since, until = begun + 72 * hour, begun + 76 * hour
        assert found(since=since, until=until) == ["job 72.5", "job 72"]
        assert found(since=since, until=until, limit=1) == ["job 72.5"]
        assert found(since=begun + 112 * hour) == ["job 116", "job 112"]
        assert found(until=begun + 5 * hour) == ["job 4", "job 0"]
        assert found(since=begun + 117 * hour) == found(until=begun) == []
        assert found(until=begun + 5 * hour, actor="nobody") == []

    def test_a_trail_without_rows_has_none_of_any_time(self, world: World) -> None:
        assert world.store.audit(AuditFilter(since=world.now, until=world.now + timedelta(days=1))) == []

    def test_the_trail_is_forgotten_after_its_time(self, world: World) -> None:
        world.store.add_audit([entry(new_caller(world.now), Action.CANCEL, f"job {i}") for i in range(2500)])
        world.clock.advance(10)
        world.store.add_audit([entry(new_caller(world.now), Action.CANCEL, "job 9999")])
        assert world.store.prune_audit(world.now) == 2500
        assert world.store.prune_audit(world.now) == 0
        assert [row.object for row in world.store.audit(AuditFilter())] == ["job 9999"]

    def test_writes_leave_their_row_in_the_trail(self, world: World) -> None:
        ann = new_caller(world.now)
        store = world.store
        job_id = world.submit(by=ann)
        store.request_cancel(job_id, world.now, ann)
        store.add_source(new_source("mine", world.now), ann)
        store.delete_source("mine", "ann", ann)
        store.set_queue("etl", paused=True, by=ann)
        world.register()
        store.drain("local", Draining.ORDERED, ann)
        store.add_key(new_key_record("0000000001", world.now), ann)
        store.revoke_key("0000000001", world.now, ann)
        found = [(row.action, row.object) for row in reversed(store.audit(AuditFilter()))]
        assert found == [
            (Action.SUBMIT, f"job {job_id}"),
            (Action.CANCEL, f"job {job_id}"),
            (Action.ADD_SOURCE, "source ann/mine"),
            (Action.DELETE_SOURCE, "source ann/mine"),
            (Action.CHANGE_QUEUE, "queue etl"),
            (Action.CONTROL_WORKER, "worker local"),
            (Action.CREATE_KEY, "key 0000000001"),
            (Action.REVOKE_KEY, "key 0000000001"),
        ]
        assert {
            (row.actor, row.key_id, row.request_id, row.address) for row in store.audit(AuditFilter())
        } == {("ann", "0a1b2c3d4e", "request-7", "192.0.2.7")}

    def test_writes_that_change_nothing_leave_no_row(self, world: World) -> None:
        ann = new_caller(world.now)
        job_id = world.submit(idempotency_key="k", request_digest="d")
        world.submit(idempotency_key="k", request_digest="d", by=ann)
        world.store.request_cancel(job_id, world.now)
        world.store.request_cancel(job_id, world.now, ann)
        world.store.add_source(new_source("mine", world.now))
        with pytest.raises(Conflict):
            world.store.add_source(new_source("mine", world.now), ann)
        with pytest.raises(NotFound):
            world.store.delete_source("other", "ann", ann)
        assert world.store.audit(AuditFilter()) == []

    def test_jobs_that_came_in_one_request_have_one_row(self, world: World) -> None:
        ann, bob = new_caller(world.now), new_caller(world.now, "bob")
        jobs = [new_job(world.now, by=by, tasks=new_tasks(1)) for by in (ann, ann, ann, bob, None)]
        world.store.add_jobs([*jobs[:1], new_job(world.now, by=ann, tasks=()), *jobs[1:]])
        rows = world.store.audit(AuditFilter())
        assert [(row.actor, row.object, row.detail["jobs"]) for row in rows] == [
            ("bob", "job 4", 1),
            ("ann", "jobs 1 to 3", 3),
        ]

    def test_names_are_each_owners_own(self, world: World) -> None:
        store = world.store
        mine, hers = new_source("Cities", world.now), new_source("cities", world.now, owner="bob")
        local = new_source("cities", world.now, owner="local")
        for source in (mine, hers, local):
            store.add_source(source)
        assert [store.source("CITIES", reader) for reader in ("ann", "bob", "local")] == [mine, hers, local]
        with pytest.raises(NotFound):
            store.source("cities", "eve")
        assert store.sources_named(["cities"], "eve") == []
        assert store.sources(reader="bob") == [hers]
        assert store.sources(name="CITIES", owner="bob") == [hers]
        assert len(store.sources(name="cities")) == 3
        store.delete_source("cities", "bob")
        assert store.sources() == [mine, local]

    def test_a_hint_names_only_what_the_reader_sees(self, world: World) -> None:
        world.store.add_source(new_source("payroll", world.now))
        world.store.add_source(new_source("payments", world.now, shared=True))
        with pytest.raises(NotFound) as missing:
            world.store.source("payrol", "eve")
        assert "payroll" not in str(missing.value)
        with pytest.raises(NotFound, match="payments"):
            world.store.source("payment", "eve")

    def test_a_shared_source_is_everyones_to_read_and_its_owners_to_delete(self, world: World) -> None:
        store = world.store
        shared = new_source("cities", world.now, shared=True)
        store.add_source(shared)
        assert store.source("CITIES", "bob") == shared
        assert store.sources(reader="bob") == store.sources_named(["cities"], "bob") == [shared]
        own = new_source("Cities", world.now, owner="bob")
        store.add_source(own)
        assert store.source("cities", "bob") == own
        assert store.source("cities", "ann") == shared
        with pytest.raises(Conflict, match="shared"):
            store.add_source(new_source("CITIES", world.now, owner="eve", shared=True))
        with pytest.raises(NotFound):
            store.delete_source("cities", "eve")
        store.delete_source("cities", "ann")
        store.add_source(new_source("CITIES", world.now, owner="eve", shared=True))

    def test_result_names_of_others_are_no_obstacle(self, world: World) -> None:
        first = world.submit(result_name="by_city")
        second = world.submit(result_name="by_city", owner="bob")
        with pytest.raises(Conflict):
            world.submit(result_name="BY_CITY", owner="bob")
        keys = {key.job_id: key for key in world.start()}
        world.claim([*keys.values()])
        for job_id, owner in ((first, "ann"), (second, "bob")):
            made = new_source("by_city", world.now, owner=owner, job_id=job_id)
            assert world.report(keys[job_id], source=made) is not None
        assert [world.store.source("by_city", owner).job_id for owner in ("ann", "bob")] == [first, second]
        third = world.submit(result_name="again", owner="bob")
        world.store.request_cancel(third, world.now)
        world.submit(result_name="again", owner="bob")
        world.store.check()

    def test_every_job_has_its_owner(self, world: World) -> None:
        job_id = world.submit(owner="bob")
        assert world.store.owner_of(job_id) == "bob"
        assert world.store.owners_of([job_id, job_id + 1]) == {job_id: "bob"}
        for unknown in (job_id + 1, 2**70):
            with pytest.raises(NotFound):
                world.store.owner_of(unknown)


def _without_id(row: AuditEntry) -> AuditEntry:
    return AuditEntry(
        row.at, row.actor, row.role, row.action, row.object, row.outcome, row.key_id, row.request_id, row.address,
        row.detail,
    )  # fmt: skip
