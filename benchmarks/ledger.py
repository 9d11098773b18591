"""The ledger with few and with a million past allocations, on each database of record and through the caches."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import insert, select, update

from benchmarks.figures import Figure, at_most, claim, median, percentile
from tidegate.cache.ledger import RedisLedgerCache
from tidegate.cache.local import LocalLedgerCache
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import LedgerError
from tidegate.ports import LedgerCache
from tidegate.store import SqlStore, open_store
from tidegate.store.dialects import plain_engine
from tidegate.store.schema import allocations, attempts, events, jobs, sequences, tasks
from tidegate.testing.conformance.world import World, new_job
from tidegate.testing.servers import MariaDB, PostgreSQL, Redis

TITLE = "The ledger with a million past allocations"
ABOUT = (
    "Two databases on one server of each kind, writing through to the disk: one with 1,000 past allocations, one with"
    " 1,000,000, each with its job, task, attempt and events; 20 workers, 40 live allocations. The million is made of"
    " the thousand by doubling, in SQL. Measured in turn, a few operations of each at a time. *Allocate and release*:"
    " the commit that starts a task, and the one that records its end. *What is available*: all workers with what "
    "they offer and what of it is taken, read from SQL as the scheduler does, and from the caches that others ask."
)
TIME_LIMIT_S = 3600.0

FEW, MANY = 1_000, 1_000_000
_AT_ONCE = 100
_WORKERS = 20
_LIVE = 40
_AT_A_TIME = 20
_ROOM = Resources(1_000_000, 4_000 * GIB, 1000 * GIB)
_SMALL = Resources(100, 16 * MIB, 0)
_NOTHING = Resources()
_OF_A_JOB = (
    (jobs, jobs.c.id),
    *((table, table.c.job_id) for table in (tasks, attempts, allocations, events)),
)


@dataclass(slots=True)
class Side:
    """One database, and the seconds that its operations took."""

    world: World
    changing_s: list[float]
    looking_s: list[float]

    def change(self) -> None:
        world, store = self.world, self.world.store
        store.add_jobs([new_job(world.now, resources=_SMALL)])
        plan = world.plan()
        began = time.perf_counter()
        started = store.commit(plan, world.now, world.epoch, claim=True)
        store.report([world.end(start.key) for start in started])
        self.changing_s.append(time.perf_counter() - began)
        assert len(started) == 1

    def look(self) -> None:
        world = self.world
        began = time.perf_counter()
        changes = world.store.changes(world.cursor)
        self.looking_s.append(time.perf_counter() - began)
        assert len(changes.workers) == _WORKERS


def run(quick: bool) -> list[Figure]:
    many, rounds = (32_000, 5) if quick else (MANY, 25)
    figures: list[Figure] = []
    wrong: list[str] = []
    with Redis() as redis, contextlib.ExitStack() as closing:
        shared = RedisLedgerCache(redis.url, "benchmark")
        closing.callback(shared.close)
        for kind, urls in _databases():
            with contextlib.ExitStack() as open_stores:
                stores = [open_store(url) for url in urls]
                for store in stores:
                    open_stores.callback(store.close)
                sides = [
                    Side(fill(store, url, n), [], [])
                    for store, url, n in zip(stores, urls, (FEW, many), strict=True)
                ]
                figures += _compare(kind, *sides, rounds)
                figures += _through_caches(kind, stores[1], shared)
                wrong += _audit(kind, stores)
    return [*figures, claim("the ledgers add up afterwards", wrong)]


def fill(store: SqlStore, url: str, count: int) -> World:
    """Let a thousand jobs run to their end, double them in SQL up to `count`, and leave some running."""
    world = World(store)
    world.worker = replace(world.worker, capacity=_ROOM, allocatable=_ROOM)
    world.register()
    store.set_queue("default", no_cap=True)
    for _ in range(FEW // _AT_ONCE):
        store.add_jobs([new_job(world.now, resources=_SMALL)] * _AT_ONCE)
        store.report([world.end(one.key) for one in world.claim()])
    _double(url, count)
    for i in range(_WORKERS - 1):
        store.register(replace(world.worker, id=f"worker-{i:02}"), world.now, 60.0)
    store.add_jobs([new_job(world.now, resources=_SMALL)] * _LIVE)
    world.claim()
    world.cursor = store.changes(0).cursor
    return world


def _double(url: str, count: int) -> None:
    """Copy what is there of finished jobs under higher ids until there are enough."""
    engine = plain_engine(url)
    have = FEW
    with engine.connect() as connection:
        while have < count:
            more = min(have, count - have)
            for table, key in _OF_A_JOB:
                columns = [key + have if column is key else column for column in table.c]
                copied = select(*columns).where(key <= more)
                connection.execute(insert(table).from_select(table.c.keys(), copied))
            connection.commit()
            have += more
        connection.execute(update(sequences).where(sequences.c.name == "job").values(value=have))
        connection.commit()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")  # now, not while it is measured
    engine.dispose()


def _compare(kind: str, few: Side, many: Side, rounds: int) -> list[Figure]:
    pair = [few, many]
    for side in pair:
        for _ in range(_AT_A_TIME):  # statements are prepared, pages read
            side.change()
            side.look()
        side.changing_s.clear()
        side.looking_s.clear()
    for _ in range(rounds):
        for side in pair:
            for _ in range(_AT_A_TIME):
                side.change()
            for _ in range(_AT_A_TIME):
                side.look()
        pair.reverse()
    return [
        _ratio(f"{kind}: allocate and release", few.changing_s, many.changing_s),
        _ratio(f"{kind}: what is available, from SQL", few.looking_s, many.looking_s),
    ]


def _ratio(name: str, few: list[float], many: list[float]) -> Figure:
    def spread(values: list[float]) -> str:
        return f"{median(values) * 1e3:.2f} / {percentile(values, 0.99) * 1e3:.2f} ms"

    note = f"p50 / p99 with few {spread(few)}, with many {spread(many)}"
    return Figure(name, median(many) / median(few), "× with 1,000", at_most(1.2), note)


def _through_caches(kind: str, store: SqlStore, shared: LedgerCache) -> list[Figure]:
    figures = []
    for name, cache in (("in the process", LocalLedgerCache()), ("on Redis", shared)):
        began = time.perf_counter()
        mark = cache.mark()
        held = store.held()
        offered = {worker.id: worker.allocatable for worker in store.workers()}
        assert cache.rebuild(held, offered, mark)
        rebuilt_s = time.perf_counter() - began
        looks: list[float] = []
        for _ in range(5_000):
            began = time.perf_counter()
            rooms = cache.rooms()
            looks.append(time.perf_counter() - began)
            assert rooms is not None
        taken = sum((room.allocated for room in rooms.workers.values()), _NOTHING)
        assert taken == sum((one.resources for one in held), _NOTHING)
        note = f"p50 {median(looks) * 1e3:.3f} ms; rebuilt from SQL in {rebuilt_s * 1e3:.0f} ms"
        figures.append(
            Figure(
                f"{kind}: what is available, cache {name}, p99",
                percentile(looks, 0.99) * 1e3,
                "ms",
                at_most(1.0),
                note,
            )
        )
    return figures


def _audit(kind: str, stores: list[SqlStore]) -> Iterator[str]:
    for store in stores:
        try:
            store.check()
        except LedgerError as error:
            yield f"{kind}: {error}"


def _databases() -> Iterator[tuple[str, list[str]]]:
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        yield "SQLite", [f"sqlite:///{Path(folder) / name}.db" for name in ("few", "many")]
    for server in (PostgreSQL(durable=True), MariaDB(durable=True)):
        with server:
            yield type(server).__name__, [server.create_database() for _ in range(2)]
