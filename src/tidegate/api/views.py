"""What the API shows of jobs, tasks, events, sources and queues: plain dictionaries, ready for JSON.

Ids are text, instants ISO 8601 in UTC with `Z`, amounts bytes and CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tidegate.core.attempt import Exit, Usage
from tidegate.core.identity import Caller
from tidegate.core.job import NO_CEILING_BYTES, Shape
from tidegate.core.resources import Resources
from tidegate.core.source import Source
from tidegate.core.states import JobStatus
from tidegate.ports import AttemptRecord, Event, JobRecord, QueueRecord, Rooms, TaskRecord, WorkerRoom
from tidegate.server.service import Service, Waiting
from tidegate.server.workers import WorkerNow

JOBS = "/api/v1/jobs"
SOURCES = "/api/v1/sources"


_SHOWN: Mapping[str, tuple[str, ...]] = {
    "sql": ("sql",),
    "command": ("argv", "cwd"),
    "function": ("function",),
    "ingest": ("into", "mode"),
    "lint": ("submission_type",),
}
"""What of a kind's own fields is shown: not what may be long or secret, such as variables, input and arguments."""


def instant(at: datetime | None) -> str | None:
    """`2026-01-31T08:00:00.000Z`."""
    return (
        at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if at is not None
        else None
    )


def job_links(job_id: int) -> dict[str, str]:
    base = f"{JOBS}/{job_id}"
    return {
        "self": base,
        "cancel": f"{base}/cancel",
        "events": f"{base}/events",
        "logs": f"{base}/logs",
        "result": f"{base}/result",
        "tasks": f"{base}/tasks",
    }


def job_view(service: Service, job: JobRecord) -> dict[str, Any]:
    """The contract's Job."""
    view = {
        "job_id": str(job.id),
        "kind": job.kind,
        "name": job.name,
        "owner": job.owner,
        "queue": job.queue,
        "priority": str(job.priority),
        "job_status": service.status(job).value,
        "created_at": instant(job.created_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "cancel_requested_at": instant(job.cancel_requested_at),
        "timeout_s": job.timeout_s,
        "max_attempts": job.max_attempts,
        "tasks": {state.value: count for state, count in job.task_counts.items()},
        "progress": service.progress(job),
        "request": request_view(job.shape),
        "max_memory_bytes": _most_memory(job),
        "usage": {**usage_view(job.usage), "peak_memory_bytes": service.peak_memory_bytes(job)},
        "exit": exit_view(job.exit),
        "waiting": waiting_view(service.waiting(job)),
        "result": result_view(service, job),
        "links": job_links(job.id),
    }
    return {**view, **{name: job.spec.get(name) for name in _SHOWN.get(job.kind, ())}}


def _most_memory(job: JobRecord) -> int | None:
    if job.max_memory_bytes is None:
        return job.shape.resources.memory_bytes
    return None if job.max_memory_bytes >= NO_CEILING_BYTES else job.max_memory_bytes


def request_view(shape: Shape) -> dict[str, Any]:
    return {**_amounts(shape.resources), "labels": dict(sorted(shape.labels))}


def usage_view(usage: Usage) -> dict[str, Any]:
    return {
        "peak_memory_bytes": usage.peak_memory_bytes,
        "peak_memory_with_cache_bytes": usage.peak_memory_with_cache_bytes,
        "cpu_seconds": usage.cpu_seconds,
        "wall_seconds": usage.wall_seconds,
        "read_bytes": usage.read_bytes,
        "written_bytes": usage.written_bytes,
        "enforced_by": usage.enforced_by,
    }


def exit_view(exit: Exit | None) -> dict[str, Any] | None:
    if exit is None:
        return None
    return {
        "reason": exit.reason.value,
        "message": exit.message,
        "limit": exit.limit,
        "observed": exit.observed,
        "enforced_by": exit.enforced_by,
        "code": exit.code,
    }


def waiting_view(waiting: Waiting | None) -> dict[str, Any] | None:
    if waiting is None:
        return None
    return {
        "code": str(waiting.code),
        "sentence": waiting.sentence,
        "numbers": dict(waiting.numbers),
        "position": waiting.position,
        "expected_start_at": instant(waiting.expected_start_at),
        "expected_start_basis": waiting.expected_start_basis,
    }


def result_view(service: Service, job: JobRecord) -> dict[str, Any] | None:
    """Source, path, counts, columns and size of a result, as far as the job has them."""
    if job.status is not JobStatus.SUCCEEDED or job.result is None or job.kind == "lint":
        return None  # what a lint job has found stands with its tasks
    result = _shown(service, job.result)
    columns = result.get("columns")
    if columns is not None:
        result.setdefault("column_count", len(columns))
    return {"source": job.result_name, **result}


def attempt_view(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "attempt_id": str(attempt.key),
        "number": attempt.key.attempt,
        "state": attempt.state.value,
        "worker": attempt.worker_id,
        "started_at": instant(attempt.started_at),
        "ended_at": instant(attempt.ended_at),
        "exit": exit_view(attempt.exit),
        "request": _amounts(attempt.resources),
        "shares_with": None if attempt.head is None else str(attempt.head),
        "usage": usage_view(attempt.usage),
    }


def task_view(service: Service, task: TaskRecord) -> dict[str, Any]:
    """The contract's Task."""
    return {
        "task_id": str(task.key),
        "job_id": str(task.key.job_id),
        "name": task.name,
        "state": task.state.value,
        "not_before": instant(task.not_before),
        "timeout_s": task.timeout_s,
        "request": _amounts(task.resources),
        "progress": service.task_progress(task),
        "attempts": [attempt_view(attempt) for attempt in task.attempts],
        "exit": exit_view(task.exit),
        "result": _shown(service, task.result) if task.result is not None else None,
        "links": {"self": f"/api/v1/tasks/{task.key}", "job": f"{JOBS}/{task.key.job_id}"},
    }


def _shown(service: Service, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with the path of its file as that is called now."""
    shown = {name: value for name, value in result.items() if name != "file"}
    if str(shown.get("path", "")).startswith("results/"):
        shown["path"] = service.sources.managed_path(shown["path"])
    return shown


def event_view(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "job_id": str(event.job_id),
        "task_id": f"{event.job_id}.{event.task_number}" if event.task_number is not None else None,
        "at": instant(event.at),
        "type": event.type,
        "message": event.message,
        "data": dict(event.data),
    }


def source_view(service: Service, source: Source, caller: Caller) -> dict[str, Any]:
    whose = "" if source.shared or source.owner == caller.owner else f"?owner={quote(source.owner)}"
    return {
        "name": source.name,
        "format": source.format,
        "path": service.sources.path_of(source),
        "owner": source.owner,
        "created_at": instant(source.created_at),
        "columns": [{"name": column.name, "type": column.type} for column in source.columns],
        "column_count": source.column_count,
        "row_count": source.row_count,
        "size_bytes": source.size_bytes,
        "file_count": source.file_count,
        "managed": source.managed,
        "shared": source.shared,
        "job_id": str(source.job_id) if source.job_id is not None else None,
        "lineage": list(source.lineage),
        "sql": source.sql,
        "options": dict(source.options),
        "links": {
            "self": f"{SOURCES}/{source.name}{whose}",
            "preview": f"{SOURCES}/{source.name}/preview{whose}",
            "download": f"{SOURCES}/{source.name}/download{whose}",
        },
    }


def queue_view(queue: QueueRecord) -> dict[str, Any]:
    base = f"/api/v1/queues/{queue.name}"
    return {
        "name": queue.name,
        "weight": queue.weight,
        "max_concurrent": queue.max_concurrent,
        "paused": queue.paused,
        "waiting": queue.waiting,
        "running": queue.running,
        "links": {"self": base, "pause": f"{base}/pause", "resume": f"{base}/resume"},
    }


def worker_view(worker: WorkerNow) -> dict[str, Any]:
    record = worker.record
    base = f"/api/v1/workers/{record.id}"
    return {
        "worker_id": record.id,
        "hostname": record.hostname,
        "status": worker.status,
        "draining": bool(record.draining),
        "registered_at": instant(record.registered_at),
        "beat_at": instant(record.beat_at),
        "capacity": _amounts(record.capacity),
        "allocatable": _amounts(record.allocatable),
        "allocated": _amounts(record.allocated),
        "labels": dict(sorted(record.labels)),
        "versions": dict(record.versions),
        "enforced_by": list(record.rungs),
        "running": [str(key) for key in worker.attempts],
        "links": {"self": base, **{verb: f"{base}/{verb}" for verb in ("drain", "resume", "stop")}},
    }


def capacity_view(rooms: Rooms, source: str) -> dict[str, Any]:
    workers = [_room_view(name, room) for name, room in sorted(rooms.workers.items())]
    total = Resources(), Resources()
    for room in rooms.workers.values():
        total = total[0] + room.allocatable, total[1] + room.allocated
    return {"source": source, "total": _room_view(None, WorkerRoom(*total)), "workers": workers}


def _room_view(name: str | None, room: WorkerRoom) -> dict[str, Any]:
    shown = {
        "allocatable": _amounts(room.allocatable),
        "allocated": _amounts(room.allocated),
        "available": _amounts(room.allocatable - room.allocated),
    }
    return shown if name is None else {"worker_id": name, **shown}


def _amounts(amounts: Resources) -> dict[str, Any]:
    return {
        "cpus": amounts.cpu_milli / 1000,
        "memory_bytes": amounts.memory_bytes,
        "disk_bytes": amounts.disk_bytes,
    }
