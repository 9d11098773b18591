"""What the archive keeps, and its division by months on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from tidegate.errors import SettingError
from tidegate.store import SqlStore, open_store
from tidegate.store.dialects.months import months
from tidegate.store.schema import archived_allocations, archived_jobs
from tidegate.testing.conformance.world import World


def test_months_follow_each_other_over_the_year():
    found = list(months(datetime(2025, 12, 31, 23, 59, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)))
    assert [(begin.month, end.month) for begin, end in found] == [(12, 1), (1, 2), (2, 3), (3, 4)]
    assert {(begin.day, begin.hour) for begin, _ in found} == {(1, 0)}


def test_the_archive_says_what_ran_where_and_what_it_used(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
    world = World(store)
    key = world.run()
    world.clock.advance(5)
    world.report(key)
    world.clock.advance(5)
    store.prune(world.now)
    (job,) = _rows(store, archived_jobs)
    assert (job.id, job.owner, job.status, job.tasks_succeeded) == (key.job_id, "ann", "SUCCEEDED", 1)
    assert (job.cpu_seconds, job.finished_at - job.started_at) == (1.5, 5_000_000)
    (held,) = _rows(store, archived_allocations)
    assert (held.job_id, held.worker_id, held.released_at - held.allocated_at) == (
        key.job_id,
        "local",
        5_000_000,
    )
    store.close()


def test_a_job_is_archived_once_or_not_at_all(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/tidegate.db")
    world = World(store)
    world.report(world.run())
    world.clock.advance(1)

    def fail(tx):
        tx.connection.execute(text("DROP TABLE archived_allocations"))

    store._db.write(fail)
    with pytest.raises(Exception, match="archived_allocations"):
        store.prune(world.now)
    assert _rows(store, archived_jobs) == []
    assert store.job(1).id == 1
    store.close()


def test_months_are_for_postgresql_only(tmp_path):
    with pytest.raises(SettingError, match="archive_by_month"):
        open_store(f"sqlite:///{tmp_path}/tidegate.db", archive_by_month=True)


def test_months_are_made_filled_and_dropped(postgresql):
    with postgresql.database() as url:
        store = open_store(url)
        world = World(store)
        world.report(world.run())
        world.clock.advance(1)
        assert store.prune(world.now) == 1
        store.close()

        for _ in range(2):  # the second time finds it done
            store = open_store(url, archive_by_month=True)
            store.close()
        store = open_store(url)
        world.store = store
        assert [row.id for row in _rows(store, archived_jobs)] == [1]
        start = world.now
        for _ in range(3):
            world.clock.advance(timedelta(days=31).total_seconds())
            world.report(world.run())
        world.clock.advance(1)
        assert store.prune(world.now) == 3
        assert len(_partitions(store)) == 8
        assert store.prune_archive(start) == 1
        assert store.prune_archive(start + timedelta(days=70)) == 2
        assert len(_partitions(store)) == 4
        assert [row.id for row in _rows(store, archived_jobs)] == [4]
        assert store.prune_archive(world.now) == 1
        assert _rows(store, archived_allocations) == []
        store.check()
        store.close()


def _rows(store: SqlStore, table):
    return store._db.read(lambda tx: tx.connection.execute(select(table)).all())


def _partitions(store: SqlStore) -> list[str]:
    query = text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    return store._db.read(lambda tx: list(tx.connection.scalars(query)))
