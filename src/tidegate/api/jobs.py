"""Routes of jobs and their tasks."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from tidegate.api import schemas
from tidegate.api.access import caller_of, entered, guarded_router
from tidegate.api.bodies import json_items, json_object
from tidegate.api.dependencies import (
    CallerGiven,
    JobNumber,
    ServiceGiven,
    TaskNamed,
    current_service,
    job_number,
)
from tidegate.api.guard import Endpoint
from tidegate.api.ingest import summed
from tidegate.api.lint import TASKS_AT_ONCE, lint_task_view, summary_of, tasks_of_verdict
from tidegate.api.openapi import json_body, problems
from tidegate.api.pages import Cursor, Limit, decode_number, encode_cursor, most_now, page
from tidegate.api.problems import problem_of
from tidegate.api.views import JOBS, job_links, job_view
from tidegate.core.lint import Verdict
from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.core.states import JobStatus, TaskState
from tidegate.errors import InvalidInput, NotFound, TidegateError
from tidegate.ports import JobFilter, JobRecord
from tidegate.server.service import Service, Submitted

router = guarded_router(prefix="/api/v1", tags=["jobs"])

LONGEST_WAIT_S = 60.0
_ONE_JOB = f"{JOBS}/"
_USUAL_WAIT = re.compile(rb"(?:wait_s=([0-9]|[1-5][0-9]))?")
"""A query string that needs no other judgement."""
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body answers the job made before, instead of making another.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
WaitS = Annotated[
    float,
    Query(
        ge=0,
        le=LONGEST_WAIT_S,
        allow_inf_nan=False,
        description="Answer once the job has ended, or after this.",
    ),
]


@router.post(
    "/jobs",
    status_code=202,
    summary="Submit a job",
    response_model=schemas.Submitted,
    responses=problems(
        "malformed", "conflict", "too_large", "unsupported_media_type", "never_fits", "busy", "pressure"
    ),
    openapi_extra={**json_body(schemas.JobRequest), "parameters": [_KEY_HEADER]},
)
async def submit(request: Request) -> JSONResponse:
    """Store a job; answers once it is safe on disk. The scheduler starts it as soon as there is room."""
    # Called as functions: as FastAPI dependencies they would double the cost of the busiest route.
    caller, service = caller_of(request), await current_service(request)
    fields = await json_object(request)
    submitted = await service.submit(caller, fields, request.headers.get("idempotency-key"))
    status = JobStatus.ACCEPTED if submitted.created else await _status(service, submitted.job_id)
    body = {
        **_submitted_view(submitted, status),
        "created": submitted.created,
        "links": job_links(submitted.job_id),
    }
    return JSONResponse(body, 202, {"Location": f"{JOBS}/{submitted.job_id}"})


@router.post(
    "/jobs/bulk",
    status_code=202,
    summary="Submit many jobs",
    response_model=schemas.BulkAnswer,
    responses=problems("malformed", "too_large", "too_many_bytes", "unsupported_media_type"),
    openapi_extra=json_body(schemas.BulkRequest),
)
async def submit_bulk(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """Store many jobs in few commits. Each is accepted or refused by itself; answers come in the order of the jobs."""
    most = service.settings.max_bulk
    items = await json_items(request, "jobs", most)
    if len(items) > most:
        raise InvalidInput(
            f"jobs: more than {most} jobs in one request; at most {most} are taken. Send them in several.",
            numbers={"field": "jobs", "asked": len(items), "limit": most},
        )
    answers = iter(await service.submit_many(caller, [item for item in items if isinstance(item, dict)]))
    views = [_bulk_view(next(answers) if isinstance(item, dict) else _no_object(item)) for item in items]
    refused = sum("problem" in view for view in views)
    return JSONResponse({"accepted": len(views) - refused, "refused": refused, "items": views}, 202)


@router.get(
    "/jobs", summary="List jobs", response_model=schemas.Page[schemas.Job], responses=problems("bad_cursor")
)
async def list_jobs(
    service: ServiceGiven,
    caller: CallerGiven,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
    kind: Annotated[str | None, Query(max_length=63)] = None,
    queue: Annotated[str | None, Query(max_length=63)] = None,
    owner: Annotated[str | None, Query(max_length=63, description="Only jobs of this owner.")] = None,
    order: Annotated[
        Literal["newest", "oldest"], Query(description="Which come first: by when they were submitted.")
    ] = "newest",
) -> JSONResponse:
    """Newest first unless told; operators see those of all owners, others their own.

    The service's own small jobs are shown only with `queue=interactive`.
    """
    limit = most_now(service, limit)
    oldest_first = order == "oldest"
    name = "jobs-oldest" if oldest_first else "jobs"
    place = decode_number(name, cursor, 0) or None
    # Accepted is what the scheduler has not looked at yet: to the store it is queued.
    stored = JobStatus.QUEUED if status is JobStatus.ACCEPTED else status
    hidden = INTERACTIVE_QUEUE if queue is None else None
    if owner is not None and not caller.sees(owner):
        return page([], limit, name, lambda job: job, lambda job: job)
    whose = owner if caller.sees_all else caller.owner
    wanted = JobFilter(
        stored,
        kind,
        queue,
        whose,
        before_id=None if oldest_first else place,
        limit=limit + 1,
        oldest_first=oldest_first,
        after_id=place if oldest_first else None,
        not_queue=hidden,
    )
    jobs = await service.run(service.store.jobs, wanted)
    if status is JobStatus.ACCEPTED:
        jobs = [job for job in jobs if service.status(job) is status]
    return page(jobs, limit, name, lambda job: job.id, lambda job: job_view(service, job))


@router.get(
    "/jobs/{job_id}", summary="Show a job", response_model=schemas.Job, responses=problems("not_found")
)
async def show_job(service: ServiceGiven, number: JobNumber, wait_s: WaitS = 0.0) -> JSONResponse:
    """A job as it is now; with `wait_s` as soon as it has ended, or as it is when the time is over."""
    return await _show(service, number, wait_s)


@router.post(
    "/jobs/{job_id}/cancel",
    summary="Cancel a job",
    response_model=schemas.CancelAnswer,
    responses=problems("not_found"),
)
async def cancel_job(service: ServiceGiven, caller: CallerGiven, number: JobNumber) -> JSONResponse:
    """What waits ends at once, what runs within 2 s. From the answer on the job cannot succeed any more. Idempotent."""
    cancelled = await service.cancel(number, caller)
    return JSONResponse(
        {
            "job_id": str(number),
            "job_status": cancelled.status.value,
            "ended_tasks": cancelled.ended_tasks,
            "stopping_attempts": [str(key) for key in cancelled.live_attempts],
            "links": job_links(number),
        }
    )


@router.get(
    "/jobs/{job_id}/tasks",
    summary="List a job's tasks",
    response_model=schemas.Page[schemas.Task],
    responses=problems("not_found", "bad_cursor"),
)
async def list_tasks(
    service: ServiceGiven,
    number: JobNumber,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[TaskState | None, Query(description="Only tasks in this state.")] = None,
    verdict: Annotated[
        Verdict | None, Query(description="Only files of this verdict, of a lint job.")
    ] = None,
) -> JSONResponse:
    """In their order, each with its attempts and the small facts of its result. A page of a lint job has at most 200, and
    with `verdict` it may be short although more follow.
    """
    limit = most_now(service, limit)
    name = f"tasks-{number}"
    after = decode_number(name, cursor, 0)
    job = await service.run(service.store.job, number)
    if job.kind == "lint":
        limit = min(limit, TASKS_AT_ONCE)
    if verdict is not None:
        _refuse_verdict(job)
        found, following = await service.run(
            tasks_of_verdict, service.store, job, verdict, after, limit, state
        )
        following_cursor = encode_cursor(name, following) if following is not None else None
        items = [lint_task_view(service, job, task) for task in found]
        return JSONResponse({"items": items, "next_cursor": following_cursor})
    tasks = await service.run(service.store.tasks, number, after=after, limit=limit + 1, state=state)
    return page(
        tasks, limit, name, lambda task: task.key.number, lambda task: lint_task_view(service, job, task)
    )


def _refuse_verdict(job: JobRecord) -> None:
    if job.kind != "lint":
        raise InvalidInput(
            f"verdict: it is of lint jobs; job {job.id} is of the kind {job.kind!r}.",
            numbers={"field": "verdict"},
        )


@router.get(
    "/tasks/{task_id}", summary="Show a task", response_model=schemas.Task, responses=problems("not_found")
)
async def show_task(service: ServiceGiven, key: TaskNamed) -> JSONResponse:
    """One task, such as `81.2`, with its attempts."""
    tasks = await service.run(service.store.tasks, key.job_id, after=key.number - 1, limit=1)
    if not tasks or tasks[0].key != key:
        raise NotFound(f"There is no task {str(key)!r}. Job {key.job_id} has others.")
    job = await service.run(service.store.job, key.job_id)
    return JSONResponse(lint_task_view(service, job, tasks[0]))


async def _show(service: Service, number: int, wait_s: float) -> JSONResponse:
    waited = service.following.wait(number, wait_s) if wait_s else service.run(service.store.job, number)
    job = await waited
    view = job_view(service, job)
    if (sums := await summed(service, job)) is not None:
        view["result"] = sums
    if job.kind == "lint":
        view["summary"] = await summary_of(service, job)
    return JSONResponse(view)


def entrance(scope: Scope) -> Endpoint | None:
    """The two busiest requests, when they are written in the usual way; see `guard.Entrance`."""
    path: str = scope["path"]
    if path == JOBS:
        return _enter_submit if scope["method"] == "POST" else None
    if not path.startswith(_ONE_JOB):
        return None
    number, wait = path[len(_ONE_JOB) :], _USUAL_WAIT.fullmatch(scope["query_string"])
    if scope["method"] != "GET" or wait is None or not (number.isascii() and number.isdigit()):
        return None

    async def show(request: Request) -> Response:
        service = await current_service(request)
        return await _show(service, await job_number(request, number), float(wait[1] or 0))

    return entered("GET", f"{JOBS}/{{job_id}}", show)


_enter_submit = entered("POST", JOBS, submit)


async def _status(service: Service, job_id: int) -> JobStatus:
    return service.status(await service.run(service.store.job, job_id))


def _submitted_view(submitted: Submitted, status: JobStatus) -> dict[str, Any]:
    return {"job_id": str(submitted.job_id), "job_status": status.value, "position": submitted.position}


def _bulk_view(answer: Submitted | TidegateError) -> dict[str, Any]:
    if isinstance(answer, TidegateError):
        return {"problem": problem_of(answer)}
    return _submitted_view(answer, JobStatus.ACCEPTED)


def _no_object(item: object) -> InvalidInput:
    return InvalidInput(f"A job must be a JSON object, not {item!r:.80}.")
