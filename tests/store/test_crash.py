from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tidegate.core.job import AttemptState, TaskState
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


@pytest.mark.parametrize("lines", [1, 2, 7, 40, 101])
def test_what_was_acknowledged_survives_a_kill(tmp_path, lines):
    url = f"sqlite:///{tmp_path}/tidegate.db"
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
        _finish(World(store))
    finally:
        store.close()


def _finish(world: World) -> None:
    """An ordinary start after the kill: what the dead worker held is lost, queued again, and runs to its end."""
    world.register()
    lost = world.store.lost(world.now)
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
    assert all(job.status == "SUCCEEDED" for job in world.store.jobs(JobFilter(limit=100_000)))
