from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tidegate.core.states import AttemptState, TaskState
from tidegate.ports import JobFilter
from tidegate.store import open_store
from tidegate.testing.conformance.world import World

# Writes all the time and says on its output what has been acknowledged: a job's id, then its end.
WRITER = """
import sys
from tidegate.store import open_store
from tidegate.testing.conformance.world import World, new_job

world = World(open_store(sys.argv[1]))
world.register()
while True:
    answers = world.store.add_jobs([new_job(world.now, result_name="") for _ in range(3)])
    print("accepted", *(answer.job_id for answer in answers), flush=True)
    claimed = world.claim()
    ended = world.store.report([world.end(assignment.key) for assignment in claimed])
    print("ended", *(end.key.job_id for end in ended), flush=True)
"""

# Another server, which does not lead: it takes submissions and cancels.
INTAKE = """
import sys
from tidegate.store import open_store
from tidegate.testing.conformance.world import World, new_job

world = World(open_store(sys.argv[1]))
while True:
    answers = world.store.add_jobs([new_job(world.now) for _ in range(3)])
    print("accepted", *(answer.job_id for answer in answers), flush=True)
    world.store.request_cancel(answers[0].job_id, world.now)
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/tidegate.db"


@pytest.mark.parametrize("lines", [1, 2, 7, 40, 101])
def test_what_was_acknowledged_survives_a_kill(url, lines):
    _kill_and_look(url, lines)


@pytest.mark.parametrize("lines", [1, 23])
def test_what_was_acknowledged_survives_a_kill_on_postgresql(postgresql, lines):
    with postgresql.database() as url:
        _kill_and_look(url, lines)


@pytest.mark.parametrize("lines", [1, 23])
def test_what_was_acknowledged_survives_a_kill_on_mariadb(mariadb, lines):
    with mariadb.database() as url:
        _kill_and_look(url, lines)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.servers
def test_several_servers_and_their_deaths_leave_a_ledger_that_adds_up(request, kind):
    """One that leads and works, two that take submissions and cancels, on one database; each is killed at some point."""
    with request.getfixturevalue(kind).database() as url:
        open_store(url).close()
        writers = [
            subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True)
            for program in (INTAKE, WRITER, INTAKE)
        ]
        accepted: set[int] = set()
        for number, writer in enumerate(writers):
            with writer:
                assert writer.stdout is not None
                seen = [writer.stdout.readline() for _ in range(10 + 10 * number)]
                assert all(line.endswith("\n") for line in seen)  # it lives
                writer.send_signal(signal.SIGKILL)
                seen += [line for line in writer.stdout if line.endswith("\n")]
            ids = {int(word) for line in seen if line.startswith("accepted") for word in line.split()[1:]}
            assert ids.isdisjoint(accepted)
            accepted |= ids
        store = open_store(url)
        try:
            store.check()
            assert accepted <= {job.id for job in store.jobs(JobFilter(limit=100_000))}
            _finish(World(store), {"SUCCEEDED", "CANCELLED"})
        finally:
            store.close()


def _kill_and_look(url: str, lines: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        seen = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        seen += [line for line in writer.stdout if line.endswith("\n")]
    accepted = {int(word) for line in seen if line.startswith("accepted") for word in line.split()[1:]}
    ended = {int(word) for line in seen if line.startswith("ended") for word in line.split()[1:]}
    assert accepted

    store = open_store(url)
    try:
        store.check()
        jobs = {job.id: job for job in store.jobs(JobFilter(limit=100_000))}
        assert accepted <= set(jobs)
        assert all(jobs[job_id].status == "SUCCEEDED" for job_id in ended)
        _finish(World(store), {"SUCCEEDED"})
    finally:
        store.close()


def _finish(world: World, statuses: set[str]) -> None:
    """An ordinary start after the kill: what the dead worker held is lost, queued again, and runs to its end."""
    world.register()
    lost = world.store.lost()
    ends = [
        world.end(
            attempt.key, TaskState.QUEUED, state=AttemptState.LOST, generation=attempt.generation, result=None
        )
        for attempt in lost
    ]
    assert len(world.store.report(ends)) == len(lost)
    while claimed := world.claim():
        world.store.report([world.end(assignment.key) for assignment in claimed])
    world.store.check()
    assert {job.status.value for job in world.store.jobs(JobFilter(limit=100_000))} <= statuses
