"""How many connections a server keeps, and that it lives through the loss of them all."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tidegate.app.database import pool_of
from tidegate.errors import Unavailable
from tidegate.settings import load_settings
from tidegate.store import Pool, open_store
from tidegate.store import jobs as job_writes
from tidegate.testing.conformance.world import World
from tidegate.testing.servers import MariaDB, PostgreSQL, SqlServer


@pytest.mark.parametrize(
    ("cpus", "size", "overflow"), [(1, 10, 5), (2, 20, 10), (3, 30, 15), (4, 30, 20), (64, 30, 20)]
)
def test_the_pool_follows_the_cpus(cpus, size, overflow):
    assert Pool.of(cpus, "production") == Pool(size, overflow)
    assert Pool.of(cpus, "development") == Pool(10, 10)


def test_figures_that_are_given_hold(monkeypatch):
    monkeypatch.setenv("ENVIRONMENT", "development")
    assert pool_of(load_settings(), 8) == Pool(10, 10)
    monkeypatch.setenv("DB_POOL_SIZE", "3")
    monkeypatch.setenv("DB_MAX_OVERFLOW", "0")
    assert pool_of(load_settings(), 8) == Pool(3, 0)
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.delenv("DB_POOL_SIZE")
    assert pool_of(load_settings(), 8) == Pool(30, 0)


@pytest.mark.servers
@pytest.mark.parametrize(("kind", "name"), [("postgresql", "postgresql"), ("mariadb", "mysql")])
def test_connections_in_use_are_counted(request: pytest.FixtureRequest, kind: str, name: str):
    store = open_store(request.getfixturevalue(kind).create_database(), pool=Pool(1, 2))
    seen = []
    store._db.read(lambda _: store._db.read(lambda _: seen.append(store.pools()[0])))
    [pool] = seen
    assert (pool.size, pool.checked_out, pool.overflow, pool.max_overflow) == (1, 2, 1, 2)
    assert pool.usage_percent == 66.7
    assert pool.engine in (name, "mariadb")
    assert store.pools()[0].checked_out == 0
    store.close()


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_connections_heal_when_the_database_comes_back(kind: type[SqlServer], how: str):
    with kind() as server:
        store = open_store(server.create_database(), pool=Pool(4, 4))
        world = World(store)
        first = world.submit()
        _use_at_once(world, 4)  # so that several connections are open
        getattr(server, how)()
        with pytest.raises(
            Unavailable, match=r"cannot be written at the moment.*See whether it runs"
        ) as told:
            world.submit()
        assert server.password not in str(told.value)
        with pytest.raises(Unavailable, match="cannot be read at the moment"):
            store.job(first)
        server.start()
        second = world.submit()
        _use_at_once(world, 8)
        assert store.job(first).id < store.job(second).id
        store.check()
        store.close()


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_restart_under_load_loses_nothing_that_was_acknowledged(kind: type[SqlServer]):
    with kind() as server:
        store = open_store(server.create_database(), pool=Pool(4, 4))
        world = World(store)
        world.register()
        acknowledged: list[int] = []
        restarted = threading.Event()
        enough = threading.Semaphore(0)
        after: set[int] = set()

        def work(number: int) -> None:
            while number not in after:
                over = restarted.is_set()
                try:
                    acknowledged.append(world.submit())
                except Unavailable:
                    continue
                if over:
                    after.add(number)
                enough.release()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert enough.acquire(timeout=30)
        server.kill()
        server.start()
        restarted.set()
        for thread in threads:
            thread.join()
        assert len(set(acknowledged)) == len(acknowledged)
        assert {job_id for job_id in acknowledged if store.job(job_id).id != job_id} == set()
        store.check()
        store.close()


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_writer_that_stands_still_does_not_hold_up_the_others_for_ever(kind: type[SqlServer]):
    with kind() as server:
        url = server.create_database()
        stuck, store = open_store(url), open_store(url)
        job_id = World(store).submit()
        locked, go_on = threading.Event(), threading.Event()

        def stand_still(tx, *, job_id: int) -> None:
            job_writes.request_cancel(tx, job_id, World(store).now)
            locked.set()
            go_on.wait(60)

        failures: list[BaseException] = []

        def hold() -> None:
            try:
                stuck._db.write(stand_still, job_id=job_id)
            except Unavailable as failure:
                failures.append(failure)

        holder = threading.Thread(target=hold)
        holder.start()
        assert locked.wait(30)
        other = World(store)
        assert other.submit() > job_id  # waits until the database has ended the other transaction
        go_on.set()
        holder.join()
        assert len(failures) == 1
        assert store.request_cancel(job_id, other.now + timedelta(seconds=1)).ended_tasks == 1
        stuck.close()
        store.close()


def _use_at_once(world: World, count: int) -> None:
    """Have so many transactions under way at a time."""
    together = threading.Barrier(count)

    def read(_tx: object) -> None:
        together.wait(30)

    threads = [threading.Thread(target=world.store._db.read, args=(read,)) for _ in range(count)]  # type: ignore[attr-defined]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
