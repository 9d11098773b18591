"""What the fault suite looks at when all should be quiet."""

from types import SimpleNamespace
from typing import cast

from tidegate.client.job import Job
from tidegate.testing.faults import _job_seen


def test_a_job_that_has_not_ended_is_looked_at_and_not_waited_for():
    """Else a broken run would never be judged: its events go on until the job's end."""
    attempts = [{"number": 1, "state": "running", "worker": "worker-0"}]
    stuck = SimpleNamespace(
        id="7", status="RUNNING", finished=False, document={}, tasks=lambda: [{"attempts": attempts}]
    )
    seen = _job_seen(cast(Job, stuck), many=False)
    assert (seen.status, seen.events, seen.answer) == ("RUNNING", (), None)
    assert [attempt.state for attempt in seen.attempts] == ["running"]
