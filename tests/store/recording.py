"""What a version of Tidegate says to its database, written down, so that it can be said again to newer tables.

During an upgrade servers of the version before go on working on tables that are already new. Their code is not here any more,
but its statements are: `python -m tests.store.recording` writes those of this version to `tests/store/recorded/`, which
is done before the tables change, and `test_upgrades.py` replays them.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from tidegate.core.identity import Caller, KeyRecord, Role
from tidegate.core.job import AttemptKey, AttemptState, TaskState
from tidegate.ports import AuditFilter, Draining, JobFilter
from tidegate.store import SqlStore, open_store
from tidegate.store.schema import REVISIONS, wanted
from tidegate.testing.conformance.world import World, new_job, new_source, new_tasks
from tidegate.testing.servers import MariaDB, PostgreSQL

FOLDER = Path(__file__).parent / "recorded"
Said = list[list[Any]]
"""Text, parameters, the number of rows it changed or found, and the rows it found."""
_OF_TRANSACTIONS = ("BEGIN", "COMMIT", "SET TRANSACTION", "START TRANSACTION")
"""Not written down: a replay commits each statement by itself."""


class _Cursor:
    """Passes everything on and writes down what it was."""

    def __init__(self, cursor: Any, said: Said) -> None:
        self._cursor, self._said = cursor, said
        self._line: list[Any] | None = None
        self._total: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    @property
    def connection(self) -> _Driver:
        return _Driver(self._cursor.connection, self._said)

    @property
    def rowcount(self) -> int:
        self.settle()
        return self._cursor.rowcount if self._total is None else self._total

    def execute(self, text: str, row: Any = ()) -> Any:
        self.settle()
        self._total = None
        answer = self._cursor.execute(text, row) if row else self._cursor.execute(text)
        self._line = [text, _plain(row), None, None]
        self._said.append(self._line)
        if not self._in_pipeline():
            self.settle()
        return answer

    def executemany(self, text: str, rows: Any) -> None:
        total = 0
        for row in rows:
            self.execute(text, row)
            total += self.rowcount
        self._total = total

    def fetchall(self) -> Any:
        self.settle()
        rows = self._cursor.fetchall()
        self._said[-1][3] = _plain(rows)
        return rows

    def fetchone(self) -> Any:
        self.settle()
        row = self._cursor.fetchone()
        self._said[-1][3] = _plain([] if row is None else [row])
        return row

    def settle(self) -> None:
        """Write down how many rows it were: of what is sent in a pipeline that is known only after its end."""
        if self._line is not None:
            self._line[2], self._line = self._cursor.rowcount, None

    def _in_pipeline(self) -> bool:
        driver = getattr(self._cursor.connection, "pgconn", None)
        return driver is not None and bool(driver.pipeline_status)


class _Driver:
    """A connection of PostgreSQL's driver. It is told itself what is sent together with the next statement of a cursor."""

    def __init__(self, connection: Any, said: Said) -> None:
        self._connection, self._said = connection, said
        self._cursors: list[_Cursor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, text: str, row: Any) -> _Cursor:
        cursor = _Cursor(self._connection.cursor(), self._said)
        cursor.execute(text, row)
        self._cursors.append(cursor)
        return cursor

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[None]:
        with self._connection.pipeline():
            yield
        for cursor in self._cursors:
            cursor.settle()
        self._cursors.clear()


def _plain(rows: Any) -> Any:
    return json.loads(json.dumps(rows, default=str))


def record(url: str, story: Callable[[SqlStore], None]) -> Said:
    """Tell the story on an empty database; what was said."""
    store = open_store(url)
    said: Said = []
    database: Any = store._db
    make = database._tx
    database._tx = lambda connection, cursor: make(connection, _Cursor(cursor, said))

    @event.listens_for(database._engine, "before_cursor_execute", named=True)
    def note(**given: Any) -> None:
        said.append([given["statement"], _plain(given["parameters"]), None, None])

    story(store)
    store.close()
    return [line for line in said if not line[0].startswith(_OF_TRANSACTIONS)]


def replay(url: str, said: Said) -> list[str]:
    """Say it again; what was answered otherwise."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    different: list[str] = []
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":
            cursor.execute(str(CreateTable(wanted)))
        for text, row, count, rows in said:
            cursor.execute(text, row) if row else cursor.execute(text)
            found = _plain(cursor.fetchall()) if cursor.description else None
            if (count is not None and cursor.rowcount != count) or not _same(found, rows, text):
                different.append(f"{text} {row}: {cursor.rowcount} {found}, not {count} {rows}")
    engine.dispose()
    return different


def _same(found: list[Any] | None, rows: list[Any] | None, text: str) -> bool:
    """Without ORDER BY a database may answer in any order, and does so when a table has changed."""
    if found is None or rows is None or "ORDER BY" in text:
        return rows is None or found == rows
    return sorted(found, key=repr) == sorted(rows, key=repr)


def tell(store: SqlStore) -> None:
    """A story in which every statement of the store is used. The clock stands, so that it is the same each time."""
    world = World(store)
    world.register()
    _submit(world)
    _run(world)
    _lose(world)
    _ask(world)
    _identify(world)
    _operate(world)
    world.clock.advance(100)
    store.prune(world.now)
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
    ends = [world.end(one.key, TaskState.QUEUED, state=AttemptState.LOST) for one in store.lost()]
    store.end_lost([replace(end, generation=world.generation) for end in ends], world.epoch)
    world.register()
    world.beat([AttemptKey(2, 1, 1)])
    store.unclaimed(world.now)
    world.commit(world.plan(), claim=True)


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
    store.managed_paths()
    store.queues()
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


def _databases() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder, PostgreSQL() as postgresql, MariaDB() as mariadb:
        yield "sqlite", f"sqlite:///{folder}/tidegate.db"
        yield "postgresql", postgresql.create_database()
        yield "mariadb", mariadb.create_database()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, url in _databases():
        lines = [json.dumps(each, ensure_ascii=False) for each in record(url, tell)]
        (FOLDER / f"{name}-{REVISIONS[-1]}.jsonl").write_text("\n".join(lines) + "\n")
        print(name, len(lines))


if __name__ == "__main__":
    main()
