"""What a job produced."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import CallerGiven, JobNumber, ServiceGiven
from tidegate.api.downloads import MEDIA_TYPES, SUPPORTED, download
from tidegate.api.ingest import summed
from tidegate.api.interactive import with_rows
from tidegate.api.lint import summary_of
from tidegate.api.openapi import content, problems
from tidegate.api.problems import Refusal, exit_numbers
from tidegate.api.sources import MOST_PREVIEW_ROWS, Offset, preview_rows
from tidegate.api.views import JOBS, SOURCES, exit_view, result_view
from tidegate.core.source import Source
from tidegate.core.states import JobStatus
from tidegate.ports import JobRecord
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["jobs"])


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
    caller: CallerGiven,
    number: JobNumber,
    format: Annotated[
        str | None, Query(max_length=20, description="One of: parquet, csv, jsonl, arrow, xlsx.")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MOST_PREVIEW_ROWS, description="Show so many rows as well.")
    ] = None,
    offset: Offset = 0,
) -> Response:
    """Where it is and what it looks like; with `limit` also rows of it; with `format` the whole of it as a file."""
    job = await service.run(service.store.job, number)
    sums = await summed(service, job) or await summary_of(service, job)
    described = sums or finished_result(service, job)
    if format is not None:
        return await download(service, caller, await _source_of(service, job), format, of_job=True)
    head: dict[str, Any] = {
        "job_id": str(job.id),
        "job_status": job.status.value,
        **described,
        "links": _links(job),
    }
    rows = b"null"
    if limit is not None:
        rows = (await preview_rows(service, caller, await _source_of(service, job), limit, offset)).rows
    return Response(with_rows(head, rows), media_type="application/json")


def _links(job: JobRecord) -> dict[str, str]:
    base = f"{JOBS}/{job.id}"
    if job.result_name is None:
        return {"files": f"{base}/files"}
    links = {name: f"{base}/result?format={name}" for name in SUPPORTED}
    return {**links, "source": f"{SOURCES}/{job.result_name}"}


def finished_result(service: Service, job: JobRecord) -> dict[str, Any]:
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
    described = result_view(service, job)
    if described is None:
        raise Refusal(
            "no_result", f"Job {job.id} succeeded, but has no result: it is of the kind {job.kind!r}."
        )
    return described


async def _source_of(service: Service, job: JobRecord) -> Source:
    """The source that holds the job's result. Raises `no_result` when it was deleted or its name is another's."""
    if job.result_name is not None:
        for source in await service.run(service.store.sources_named, [job.result_name], job.owner):
            if source.job_id == job.id:
                return source
    raise Refusal("no_result", f"The result of job {job.id} is not kept as a source, or was deleted.")
