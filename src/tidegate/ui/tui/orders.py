"""What a watcher can have done: the request, who may ask for it, and what is said before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidegate.client import calls
from tidegate.client.call import Call
from tidegate.client.shapes import Document
from tidegate.core.identity import Role
from tidegate.ui.cli.output import clean


@dataclass(frozen=True, slots=True)
class Order:
    """`question` is asked first, where what is done cannot be undone. `done` is said when the server has answered."""

    call: Call[Any]
    least: Role
    what: str
    done: str
    question: str | None = None

    def refusal(self, role: str | None) -> str | None:
        """Why this role may not; None when it may, or when it is not known and the server will say."""
        if role is None or Role(role).may(self.least):
            return None
        return f"{self.what} takes the role {self.least.value}; your key has {role}."


def cancel(job: Document) -> Order:
    """End a job. What it has done so far is lost, so it is asked about."""
    name = f"job {job['job_id']}" + (f", {clean(job['name'])}," if job.get("name") else "")
    owner = f" of {clean(job['owner'])}" if job.get("owner") else ""
    now = "It runs; what it has done so far is lost." if job.get("started_at") else "It has not started yet."
    return Order(
        calls.jobs.cancel(job["job_id"]),
        Role.USER,
        "Cancelling a job",
        f"Job {job['job_id']} is being cancelled.",
        f"Cancel {name}{owner}? {now}",
    )


def pause_or_resume(queue: Document) -> Order:
    """Start nothing more from a queue, or start from it again."""
    name, pause = queue["name"], not queue["paused"]
    done = f"Queue {name} is paused: what runs goes on." if pause else f"Queue {name} is open again."
    what = "Pausing a queue" if pause else "Resuming a queue"
    return Order(calls.queues.pause(name, pause), Role.OPERATOR, what, done)


def drain_or_resume(worker: Document) -> Order:
    """Start nothing more on a worker, or start there again."""
    name, drain = worker["worker_id"], not worker["draining"]
    done = f"Worker {name} is drained: what runs goes on." if drain else f"Worker {name} gets jobs again."
    what = "Draining a worker" if drain else "Resuming a worker"
    return Order(calls.workers.tell(name, "drain" if drain else "resume"), Role.OPERATOR, what, done)


def acknowledge(alert: Document) -> Order:
    """Say that an alert is seen."""
    number = alert["alert_id"]
    done = f"Alert {number} is acknowledged: it is not told again unless it grows worse."
    return Order(calls.alerts.acknowledge(number, ""), Role.OPERATOR, "Acknowledging an alert", done)
