"""Ingest jobs: a look at a file before it is loaded, and what the tasks of a job add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.interactive import finished
from tidegate.api.openapi import json_body, problems
from tidegate.ports import JobRecord
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["ingest"])

KIND = "ingest"
PREVIEW_TIMEOUT_S = 60.0
_COUNTS = ("rows", "inserted", "updated", "duplicates", "bad_rows", "bad_cells")
_TASKS_AT_ONCE = 1000


@router.post(
    "/ingest/preview",
    summary="Look at a file before it is loaded",
    response_model=schemas.IngestPreview,
    responses=problems(
        "malformed", "too_large", "unsupported_media_type", "query_failed", "busy", "never_fits"
    ),
    openapi_extra=json_body(schemas.IngestPreviewRequest),
)
async def preview(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """The sheets of a file, and of one of them the columns, their types and the first rows. Nothing is loaded."""
    asked = await json_model(request, schemas.IngestPreviewRequest)
    options = {name: value for name, value in (asked.model_extra or {}).items() if value is not None}
    fields = {**options, "kind": KIND, "files": [asked.file], "preview_rows": asked.rows}
    if asked.sheet is not None:
        fields["sheets"] = asked.sheet
    job, result = await finished(service, caller, fields, PREVIEW_TIMEOUT_S)
    return JSONResponse({"job_id": str(job.id), **result})


async def summed(service: Service, job: JobRecord) -> dict[str, Any] | None:
    """What the tasks of an ended ingest job have loaded together; None for all other jobs, and for those of one task."""
    if job.kind != KIND or not job.status.final or sum(job.task_counts.values()) < 2:
        return None
    totals: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
    loads, unchanged, after = 0, 0, 0
    tables: dict[str, None] = {}
    while tasks := await service.run(service.store.tasks, job.id, after=after, limit=_TASKS_AT_ONCE):
        after = tasks[-1].key.number
        for result in (task.result for task in tasks if task.result and "inserted" in task.result):
            loads += not result.get("empty")
            unchanged += bool(result.get("unchanged"))
            if not result.get("empty"):
                tables[str(result.get("table"))] = None
            for name in _COUNTS:
                totals[name] += _whole(result, name)
    return {**totals, "loads": loads, "unchanged_loads": unchanged, "tables": sorted(tables)[:1000]}


def _whole(result: Mapping[str, Any], name: str) -> int:
    value = result.get(name)
    return value if isinstance(value, int) else 0
