"""What a job produced, and what it printed."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import FileResponse, PlainTextResponse, Response

from tidegate.api import schemas
from tidegate.api.dependencies import JobNumber, Owner, ServiceGiven
from tidegate.api.downloads import MEDIA_TYPES, SUPPORTED, download
from tidegate.api.interactive import with_rows
from tidegate.api.openapi import content, problems
from tidegate.api.problems import Refusal, exit_numbers
from tidegate.api.sources import MOST_PREVIEW_ROWS, Offset, preview_rows
from tidegate.api.views import JOBS, SOURCES, exit_view, result_view
from tidegate.core.job import AttemptKey, JobStatus, Source
from tidegate.errors import NotFound
from tidegate.ports import JobRecord
from tidegate.server.service import Service

router = APIRouter(prefix="/api/v1", tags=["jobs"])

MOST_TAIL_LINES = 100_000
_BLOCK_BYTES = 64 * 1024
_TEXT = "text/plain; charset=utf-8"


@router.get(
    "/jobs/{job_id}/result",
    summary="A job's result",
    response_model=schemas.ResultAnswer,
    responses={
        200: content(*MEDIA_TYPES.values(), description="The result: described as JSON, or with `format` as a file."),
        206: content(*MEDIA_TYPES.values(), description="The part that `Range` asked for."),
        **problems(
            "not_found", "no_result", "not_finished", "job_failed", "unsupported_format", "range_not_satisfiable",
            "query_failed", "busy", "disk_full",
        ),
    },
)  # fmt: skip
async def result(
    service: ServiceGiven,
    owner: Owner,
    number: JobNumber,
    format: Annotated[str | None, Query(max_length=20, description="One of: parquet, csv, jsonl.")] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MOST_PREVIEW_ROWS, description="Show so many rows as well.")
    ] = None,
    offset: Offset = 0,
) -> Response:
    """Where it is and what it looks like; with `limit` also rows of it; with `format` the whole of it as a file."""
    job = await service.run(service.store.job, number)
    described = _finished(service, job)
    if format is not None:
        return await download(service, owner, await _source_of(service, job), format)
    base = f"{JOBS}/{job.id}"
    links = {name: f"{base}/result?format={name}" for name in SUPPORTED}
    if job.result_name is not None:
        links["source"] = f"{SOURCES}/{job.result_name}"
    head: dict[str, Any] = {
        "job_id": str(job.id),
        "job_status": job.status.value,
        **described,
        "links": links,
    }
    rows = b"null"
    if limit is not None:
        rows = (await preview_rows(service, owner, await _source_of(service, job), limit, offset)).rows
    return Response(with_rows(head, rows), media_type="application/json")


@router.get(
    "/jobs/{job_id}/logs",
    summary="What a job printed",
    response_class=PlainTextResponse,
    responses={200: content("text/plain", description="The text, or nothing."), **problems("not_found")},
)
async def logs(
    service: ServiceGiven,
    number: JobNumber,
    task: Annotated[int, Query(ge=1, le=10**9, description="Number of the task.")] = 1,
    attempt: Annotated[
        int | None, Query(ge=1, le=10**9, description="The attempt; default: the newest.")
    ] = None,
    tail: Annotated[
        int | None, Query(ge=0, le=MOST_TAIL_LINES, description="Only so many last lines.")
    ] = None,
) -> Response:
    """Kept from the end of an attempt on."""
    key = await _attempt(service, number, task, attempt)
    path = await service.run(service.log_of, key) if key is not None else None
    if path is None:
        return PlainTextResponse("")
    if tail is None:
        return FileResponse(path, media_type=_TEXT, content_disposition_type="inline")
    return Response(await service.run(last_lines, path, tail), media_type=_TEXT)


def last_lines(path: Path, lines: int) -> bytes:
    """The last lines of a file, read from its end in blocks."""
    if not lines:
        return b""
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        found = b""
        while at > 0 and found.rstrip(b"\n").count(b"\n") < lines:
            step = min(_BLOCK_BYTES, at)
            at = file.seek(at - step, io.SEEK_SET)
            found = file.read(step) + found
    return b"".join(found.splitlines(keepends=True)[-lines:])


def _finished(service: Service, job: JobRecord) -> dict[str, Any]:
    """The result of a job that succeeded. Raises `not_finished`, `job_failed` or `no_result`."""
    if not job.status.final:
        raise Refusal(
            "not_finished",
            f"Job {job.id} has not ended yet: it is {service.status(job).value}. Wait for it with "
            f"`GET {JOBS}/{job.id}?wait_s=30`.",
        )
    if job.status is not JobStatus.SUCCEEDED:
        why = job.exit.message if job.exit is not None else "It was cancelled before it started."
        raise Refusal(
            "job_failed",
            f"Job {job.id} has no result, since it ended as {job.status.value}. {why}",
            numbers=exit_numbers(job.exit),
            more={"job_status": job.status.value, "exit": exit_view(job.exit)},
        )
    described = result_view(job)
    if described is None:
        raise Refusal(
            "no_result", f"Job {job.id} succeeded, but has no result: it is of the kind {job.kind!r}."
        )
    return described


async def _source_of(service: Service, job: JobRecord) -> Source:
    """The source that holds the job's result. Raises `no_result` when it was deleted or its name is another's."""
    if job.result_name is not None:
        for source in await service.run(service.store.sources_named, [job.result_name]):
            if source.job_id == job.id:
                return source
    raise Refusal("no_result", f"The result of job {job.id} is not kept as a source, or was deleted.")


async def _attempt(service: Service, job_id: int, task: int, attempt: int | None) -> AttemptKey | None:
    """The attempt that was asked for, or the newest; None when there was none yet. Raises NotFound."""
    tasks = await service.run(service.store.tasks, job_id, after=task - 1, limit=1)
    if not tasks or tasks[0].key.number != task:
        raise NotFound(f"Job {job_id} has no task {task}.")
    keys = [record.key for record in tasks[0].attempts]
    if attempt is None:
        return keys[-1] if keys else None
    for key in keys:
        if key.attempt == attempt:
            return key
    raise NotFound(f"Task {job_id}.{task} has no attempt {attempt}; it has made {len(keys)}.")
