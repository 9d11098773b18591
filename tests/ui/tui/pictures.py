"""A picture of a server on which much goes on, always the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.ui.tui.picture import Jobs, Picture

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
GIB = 1 << 30
MIB = 1 << 20


def at(seconds: float) -> str:
    """An instant so many seconds ago."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def amounts(cpus: float, memory_bytes: int) -> dict[str, Any]:
    return {"cpus": cpus, "memory_bytes": memory_bytes, "disk_bytes": GIB}


def job(number: int, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "job_id": str(number),
        "kind": "sql",
        "name": name,
        "owner": "ann",
        "queue": "default",
        "priority": "normal",
        "job_status": "RUNNING",
        "created_at": at(400),
        "started_at": at(180),
        "cancel_requested_at": None,
        "tasks": {"running": 1},
        "progress": None,
        "request": amounts(1, 400 * MIB),
        "usage": {"peak_memory_bytes": None},
        "waiting": None,
        **fields,
    }


def waiting(number: int, name: str, sentence: str, position: int | None, **fields: Any) -> dict[str, Any]:
    why: dict[str, Any] = {
        "code": "x",
        "sentence": f"Job {number} waits {sentence}",
        "numbers": {},
        "position": position,
    }
    expected = {"expected_start_at": fields.pop("starts", None), "expected_start_basis": ""}
    state = {"job_status": "QUEUED", "started_at": None, "tasks": {"queued": 1}}
    return job(number, name, **state, waiting={**why, **expected}, **fields)


def worker(name: str, status: str, cpus: float, memory_bytes: int, running: int) -> dict[str, Any]:
    return {
        "worker_id": name,
        "status": status,
        "draining": status == "draining",
        "beat_at": at(12),
        "allocatable": amounts(4, 8 * GIB),
        "allocated": amounts(cpus, memory_bytes),
        "versions": {"tidegate": "9.9.9"},
        "running": ["x"] * running,
    }


def queue(name: str, waiting: int, running: int, cap: int | None, paused: bool = False) -> dict[str, Any]:
    counts = {"waiting": waiting, "running": running, "max_concurrent": cap}
    return {"name": name, "paused": paused, "weight": 1, **counts}


def busy_picture() -> Picture:
    """A machine that is filled, a worker that is drained, a queue that is paused, an alert, a check that fails."""
    readings = {"cpu_busy_percent": 97.0, "memory_used_percent": 61.0}
    alert = {
        "alert_id": "7",
        "rule": "disk",
        "subject": "one",
        "level": "severe",
        "state": "open",
        "silenced": False,
        "message": "Disk in use of one is 96 %, above 95 %.",
        "raised_at": at(600),
    }
    parts = {
        "whoami": {"owner": "ann", "role": "operator"},
        "mode": {"mode": "normal"},
        "pressure": {
            "level": "warn",
            "signals": [{"signal": "disk", "level": "warn"}, {"signal": "cpu", "level": "normal"}],
            "workers": [{"worker_id": "one", "level": "warn", "readings": readings}],
        },
        "system": {
            "cpu": {"percent": 97.0, "limit_cpus": 4.0, "load_average": [5.5, 5.0, 4.0]},
            "memory": {"percent": 61.0, "used_bytes": 10 * GIB, "total_bytes": 16 * GIB},
            "disk": {"percent": 96.0, "free_bytes": 4 * GIB},
            "process": {"version": "9.9.9"},
        },
        "ready": {"checks": {"store": None, "disk": "Only 4 % of the disk are free."}},
        "health": {"checks": {"celery_workers": {"status": "healthy", "message": "All are online."}}},
        "alerts": Jobs((alert,)),
        "workers": Jobs((worker("one", "online", 3.5, 6 * GIB, 2), worker("two", "draining", 1, 2 * GIB, 1))),
        "queues": Jobs((queue("default", 2, 3, 3), queue("nightly", 1, 0, None, paused=True))),
        "running": Jobs(
            (
                job(81, "worst first", progress=0.62, usage={"peak_memory_bytes": 388 * MIB}),
                job(
                    82, "a folder of files", kind="lint", tasks={"succeeded": 12, "running": 4, "queued": 384}
                ),
                job(83, "rain 雨の日", owner="bob", cancel_requested_at=at(1)),
            )
        ),
        "waiting": Jobs(
            (
                waiting(90, "second", "for room: 2 CPUs asked, 1.5 available.", 2, priority="high"),
                waiting(85, "first", "for room: 1 CPU asked, 0.5 available.", 1, starts=at(-90)),
                waiting(
                    84,
                    "nightly",
                    "because queue 'nightly' is paused. Resume the queue to start it.",
                    1,
                    queue="nightly",
                ),
            ),
            more=True,
        ),
    }
    return Picture("http://tide.example:8420", NOW, parts)
