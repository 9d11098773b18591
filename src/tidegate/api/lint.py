"""Lint jobs: what is shown of their tasks, what these add up to, and reports for other tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from tidegate.api.access import guarded_router
from tidegate.api.dependencies import JobNumber, ServiceGiven
from tidegate.api.lint_reports import FORMATS
from tidegate.api.openapi import content, problems
from tidegate.api.problems import Refusal, exit_numbers
from tidegate.api.views import JOBS, exit_view, task_view
from tidegate.core.lint import SENSELESS_OPTIONS, FileReport, Summary, Verdict
from tidegate.core.states import ExitReason, JobStatus, TaskState
from tidegate.ports import JobRecord, Store, TaskRecord
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["lint"])

KIND = "lint"
TASKS_AT_ONCE = 200
"""Of which each may hold a report of a few hundred KiB."""
MOST_PASSED_OVER = 5_000
"""So many tasks one request looks at to find those of a verdict; then its page is short, and the next one goes on."""
_PIECE_CHARACTERS = 64 * 1024


def report_of(job: JobRecord, task: TaskRecord) -> FileReport | None:
    """What a task says about its file; None while it says nothing, and of the task that unpacked an archive."""
    if _is_unpacking(job, task) or not task.state.final:
        return None
    found = (task.result or {}).get(KIND)
    if task.state is TaskState.SUCCEEDED and isinstance(found, dict):
        cached = bool((task.result or {}).get("cached"))
        return replace(FileReport.from_json(found), file=task.name, cached=cached)
    why = task.exit.message if task.exit is not None else "It was not looked at."
    return FileReport(task.name, _verdict_without_result(task), why)


def _is_unpacking(job: JobRecord, task: TaskRecord) -> bool:
    return job.spec.get("submission_type") != "SINGLE_FILE" and task.key.number == 1


def _verdict_without_result(task: TaskRecord) -> Verdict:
    if task.state is TaskState.CANCELLED:
        return Verdict.SKIPPED
    if task.exit is not None and task.exit.code in SENSELESS_OPTIONS:
        return Verdict.SKIPPED
    timed_out = task.exit is not None and task.exit.reason is ExitReason.TIME_LIMIT
    return Verdict.TIMED_OUT if timed_out else Verdict.CRASHED


def lint_task_view(service: Service, job: JobRecord, task: TaskRecord) -> dict[str, Any]:
    """The contract's Task; of a lint job with its file, verdict and violations."""
    view = task_view(service, task)
    if job.kind != KIND or _is_unpacking(job, task):
        return view
    report = report_of(job, task)
    view |= {
        "file": task.name,
        "result": None,
        "verdict": None,
        "violations": [],
        "summary": None,
        "cached": False,
    }
    if report is None:
        return view
    return view | {
        "verdict": str(report.verdict),
        "reason": report.reason or None,
        "violations": [asdict(violation) for violation in report.violations],
        "violations_cut": (task.result or {}).get(KIND, {}).get("cut", 0),
        "notes": list(report.notes),
        "fixed": report.fixed,
        "size_bytes": report.size_bytes,
        "cached": report.cached,
        "summary": _file_summary(report),
    }


def _file_summary(report: FileReport) -> dict[str, Any]:
    errors = sum(violation.severity == "error" for violation in report.violations)
    return {
        "clean": report.clean,
        "violations": errors,
        "warnings": len(report.violations) - errors,
        "fixable": sum(violation.fixable for violation in report.violations),
        "by_rule": dict(sorted(Counter(violation.rule for violation in report.violations).items())),
    }


def tasks_of_verdict(
    store: Store, job: JobRecord, wanted: Verdict, after: int, limit: int, state: TaskState | None = None
) -> tuple[list[TaskRecord], int | None]:
    """At most so many tasks of a verdict behind number `after`, in a state if one is given; and where the next page goes on,
    None at the end."""
    found: list[TaskRecord] = []
    until = after + MOST_PASSED_OVER
    while after < until:
        tasks = store.tasks(job.id, after=after, limit=TASKS_AT_ONCE, state=state)
        for task in tasks:
            after = task.key.number
            report = report_of(job, task)
            if report is not None and report.verdict is wanted:
                found.append(task)
            if len(found) == limit:
                return found, after
        if len(tasks) < TASKS_AT_ONCE:
            return found, None
    return found, after


def reports_of(store: Store, job: JobRecord) -> Iterator[FileReport]:
    """The reports of all files of an ended job, read page by page."""
    after = 0
    while tasks := store.tasks(job.id, after=after, limit=TASKS_AT_ONCE):
        after = tasks[-1].key.number
        for task in tasks:
            if (report := report_of(job, task)) is not None:
                yield report


async def summary_of(service: Service, job: JobRecord) -> dict[str, Any] | None:
    """What the files of an ended lint job add up to; None for all other jobs, and when nobody knows all its files."""
    if job.kind != KIND or not job.status.final:
        return None
    return await service.run(_summary, service.store, job)


def _summary(store: Store, job: JobRecord) -> dict[str, Any] | None:
    if _lacks_files(store, job):
        return None
    return asdict(Summary.of(reports_of(store, job)))


def _lacks_files(store: Store, job: JobRecord) -> bool:
    """Whether the archive or folder was never looked into to its end: then nobody knows what is missing."""
    if job.spec.get("submission_type") == "SINGLE_FILE":
        return False
    first = store.tasks(job.id, limit=1)
    return not first or first[0].state is not TaskState.SUCCEEDED


@router.get(
    "/jobs/{job_id}/report",
    summary="A lint job's report",
    response_class=Response,
    responses={
        200: content(*(media for _, media in FORMATS.values()), description="The report in the format."),
        **problems("not_found", "no_result", "not_finished", "job_failed", "unsupported_format"),
    },
)
async def report(
    service: ServiceGiven,
    number: JobNumber,
    format: Annotated[str, Query(max_length=20, description=f"One of: {', '.join(FORMATS)}.")] = "json",
) -> Response:
    """All files of an ended lint job in a format that other tools read, sent as it is read."""
    if format not in FORMATS:
        raise Refusal(
            "unsupported_format",
            f"format: {format!r:.40} is not supported. It must be one of: {', '.join(FORMATS)}.",
            numbers={"field": "format"},
        )
    job = await service.run(service.store.job, number)
    engine = await service.run(_engine_of, service.store, job)
    write, media_type = FORMATS[format]
    return StreamingResponse(_pieces(write(reports_of(service.store, job), engine)), media_type=media_type)


def _engine_of(store: Store, job: JobRecord) -> str:
    """The version of the linter; raises when there is no report."""
    if job.kind != KIND:
        raise Refusal("no_result", f"Job {job.id} has no report: it is of the kind {job.kind!r}.")
    if not job.status.final:
        raise Refusal(
            "not_finished",
            f"Job {job.id} has not ended yet. Wait for it with `GET {JOBS}/{job.id}?wait_s=30`.",
        )
    if _lacks_files(store, job):
        why = job.exit.message if job.exit is not None else "It was cancelled."
        raise Refusal(
            "job_failed",
            f"Job {job.id} has no report, since it never learned which files there are. {why}",
            numbers=exit_numbers(job.exit),
            more={"job_status": JobStatus(job.status).value, "exit": exit_view(job.exit)},
        )
    first = store.tasks(job.id, limit=1)
    return str((first[0].result or {}).get("engine", "")) if first else ""


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """In pieces worth sending."""
    gathered: list[str] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _PIECE_CHARACTERS:
            yield "".join(gathered).encode("utf-8", "replace")
            gathered, size = [], 0
    yield "".join(gathered).encode("utf-8", "replace")
