"""How the server does: figures that move, and answers that come whatever else is away."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.api.support import World
from tidegate.server.threads import CountedThreads
from tidegate.store import open_store


def test_the_machine_is_told_in_bytes_and_percents(world: World) -> None:
    usage = world.http.get("/api/system/resource-usage").json()
    assert set(usage) == {"timestamp", "cpu", "memory", "disk"}
    assert 0 <= usage["cpu"]["percent"] <= 100
    assert 0 < usage["memory"]["available_bytes"] < usage["memory"]["total_bytes"]
    assert usage["disk"]["path"] == str(world.data_dir)


def test_executors_count_what_runs_waits_and_ended(world: World) -> None:
    before = world.http.get("/api/system/executor-stats").json()["executors"]
    assert set(before) == {"read", "look"}
    assert before["read"]["size"] == 4
    begun, gate = threading.Semaphore(0), threading.Event()

    def wait() -> bool:
        begun.release()
        return gate.wait(30.0)

    blocked = [world.service._readers.submit(wait) for _ in range(6)]
    try:
        assert all(begun.acquire(timeout=30.0) for _ in range(4))
        now = world.http.get("/api/system/executor-stats").json()["executors"]["read"]
        assert (now["active"], now["queued"]) == (4, 2)  # answers though no reader is free: it asks none
    finally:
        gate.set()
    assert [future.result() for future in blocked] == [True] * 6
    assert world.service.executors()["read"].completed >= before["read"]["completed"] + 6


def test_connections_are_counted_without_the_database(world: World) -> None:
    world.service.store.queues()
    [pool] = world.http.get("/api/system/db-pool-stats").json()["pools"]
    assert (pool["engine"], pool["size"], pool["overflow"], pool["max_overflow"]) == ("sqlite", 5, 0, 0)
    assert pool["usage_percent"] == 100 * pool["checked_out"] / 5


def test_a_connection_in_use_is_checked_out(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'tidegate.db'}")
    seen = []
    store._db.read(lambda tx: seen.append(store.pools()[0].checked_out))
    store._db.write(lambda tx: seen.append(store.pools()[0].checked_out))
    assert [*seen, store.pools()[0].checked_out] == [1, 1, 0]
    store.close()


def test_counted_threads_tell_failures_and_cancels_apart() -> None:
    threads = CountedThreads(1, "test")
    gate, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait(30.0)

    running = threads.submit(wait)
    failing = threads.submit(divmod, 1, 0)
    cancelled = threads.submit(divmod, 1, 1)
    assert begun.wait(30.0)
    assert cancelled.cancel()
    assert (threads.stats().active, threads.stats().queued, threads.stats().cancelled) == (1, 1, 1)
    gate.set()
    running.result()
    assert isinstance(failing.exception(), ZeroDivisionError)
    threads.shutdown(wait=True)
    stats = threads.stats()
    assert (stats.active, stats.queued, stats.completed, stats.failed, stats.cancelled) == (0, 0, 1, 1, 1)
