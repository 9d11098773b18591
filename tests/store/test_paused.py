"""A leading server that is stopped (SIGSTOP) past its lease, and writes what it had decided when it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.pool import NullPool

from tidegate.core.states import TaskState
from tidegate.runtime.clock import SystemClock
from tidegate.store import open_store
from tidegate.store.schema import metadata
from tidegate.testing.conformance.world import World

LEASE_S = 10.0
# Leads, decides, and says so; then does what it had decided as soon as it is told to.
LEADER = """
import sys
from tidegate.core.states import AttemptState, TaskState
from tidegate.errors import NotLeader
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.clock import SystemClock
from tidegate.server.leader import Leader
from tidegate.store import open_store
from tidegate.testing.conformance.world import World

store, clock = open_store(sys.argv[1]), SystemClock()
leader = Leader(store, LocalBell(), clock, "paused", lease_s=10.0)
leader.look()
world = World(store)
world.generation = 1
epoch, plan, [beat] = leader.epoch, world.plan(), store.beats()
lost = [world.end(key, TaskState.QUEUED, state=AttemptState.LOST, result=None) for key in map(eval, sys.argv[2:])]
writes = {
    "commit": lambda: store.commit(plan, clock.now(), epoch),
    "claiming commit": lambda: store.commit(plan, clock.now(), epoch, claim=True),
    "wake": lambda: store.wake_scheduled(clock.now(), epoch),
    "death": lambda: store.declare_dead(beat, clock.now(), epoch),
    "rescue": lambda: store.end_lost(lost, epoch),
}
print("decided", len(plan.starts), flush=True)
sys.stdin.readline()
for name, write in writes.items():
    try:
        print(name, "stored", write(), flush=True)
    except NotLeader as refused:
        print(name, "refused", refused.numbers["epoch"], refused.numbers["own_epoch"], flush=True)
"""


def everything(url: str) -> dict[str, list[Any]]:
    """All rows of all tables but the leader's own."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        rows = {
            table.name: sorted(map(repr, connection.execute(select(table)).all()))
            for table in metadata.sorted_tables
            if table.name != "leader"
        }
    engine.dispose()
    return rows


def check_paused(url: str) -> None:
    clock = SystemClock()
    store = open_store(url)
    world = World(store)
    world.register()
    running = world.run()
    job_id, sleeping = world.submit(), world.submit(not_before=world.now + timedelta(seconds=1))
    assert store.resign("world", world.epoch, clock.now())
    command = [
        sys.executable,
        "-c",
        LEADER,
        url,
        f"__import__('tidegate').core.job.AttemptKey{tuple(running)}",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as paused:
        assert paused.stdin is not None
        assert paused.stdout is not None
        try:
            assert paused.stdout.readline() == "decided 1\n"
            paused.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, paused.pid, os.WSTOPPED)
            # Its lease has run out once this much time has passed; nobody needs to wait for that.
            epoch = store.lead("heir", clock.now() + timedelta(seconds=LEASE_S), LEASE_S)
            assert epoch == 3
            before = everything(url)
        finally:
            paused.send_signal(signal.SIGCONT)
        answers = paused.communicate("go on\n")[0].splitlines()
    assert answers == [
        f"{name} refused 3 2" for name in ("commit", "claiming commit", "wake", "death", "rescue")
    ]
    assert everything(url) == before
    assert store.job(job_id).task_counts[TaskState.QUEUED] == 1
    assert store.job(sleeping).task_counts[TaskState.SCHEDULED] == 1
    assert len(store.commit(world.plan(), world.now, epoch)) == 1
    store.check()
    store.close()


def test_a_paused_leader_writes_nothing_on_sqlite(tmp_path) -> None:
    check_paused(f"sqlite:///{tmp_path}/tidegate.db")


@pytest.mark.servers
def test_a_paused_leader_writes_nothing_on_postgresql(empty_postgresql: Callable[[], str]) -> None:
    check_paused(empty_postgresql())


@pytest.mark.servers
def test_a_paused_leader_writes_nothing_on_mariadb(empty_mariadb: Callable[[], str]) -> None:
    check_paused(empty_mariadb())
