"""The files that a command or a function has left behind: listed and downloaded one by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import JobNumber, ServiceGiven
from tidegate.api.downloads import RangeResponse
from tidegate.api.openapi import content, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, most_now, page
from tidegate.api.problems import Refusal
from tidegate.api.results import finished_result
from tidegate.api.views import JOBS
from tidegate.errors import NotFound
from tidegate.server.files import OutputFile, list_files, open_file
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["jobs"])

_BYTES = "application/octet-stream"


@router.get(
    "/jobs/{job_id}/files",
    summary="List a job's files",
    response_model=schemas.Page[schemas.OutputFile],
    responses=problems("not_found", "no_result", "not_finished", "job_failed", "bad_cursor"),
)
async def list_output(
    service: ServiceGiven, number: JobNumber, limit: Limit = 50, cursor: Cursor = None
) -> JSONResponse:
    """What the job left in its output folder, in order of name."""
    limit = most_now(service, limit)
    name = f"files-{number}"
    after = decode_cursor(name, cursor) if cursor is not None else ""
    folder = await _folder(service, number)
    files = await service.run(list_files, folder, after, limit + 1) if folder is not None else []
    return page(files, limit, name, lambda file: file.name, lambda file: _view(number, file))


@router.get(
    "/jobs/{job_id}/files/{name:path}",
    summary="Download a job's file",
    response_class=Response,
    responses={
        200: content(_BYTES, description="The file, always as bytes to be saved."),
        206: content(_BYTES, description="The part that `Range` asked for."),
        **problems("not_found", "no_result", "not_finished", "job_failed", "range_not_satisfiable"),
    },
)
async def download_output(service: ServiceGiven, number: JobNumber, name: str) -> Response:
    """One file by its path in the output folder. Links are not followed."""
    folder = await _folder(service, number)
    if folder is None:
        raise NotFound(f"Job {number} has left no files.")
    fd = await service.run(open_file, folder, name)
    return _OpenFileResponse(fd, os.path.basename(name))


class _OpenFileResponse(RangeResponse):
    """An open file, closed after the answer. Opened by its descriptor, so it is the one that was looked at."""

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(
            f"/proc/self/fd/{fd}",
            media_type=_BYTES,
            filename=name,
            stat_result=os.fstat(fd),
            headers={"X-Content-Type-Options": "nosniff"},
        )
        self._fd = fd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._fd)


async def _folder(service: Service, number: int) -> Path | None:
    """Where the job's files lie; None when it left none. Raises what `finished_result` does."""
    job = await service.run(service.store.job, number)
    described = finished_result(service, job)
    if "file_count" not in described:
        return None
    path = described.get("path")
    if not isinstance(path, str):
        raise Refusal("no_result", f"The files of job {number} are not kept.")
    return Path(path)


def _view(number: int, file: OutputFile) -> dict[str, Any]:
    links = {"download": f"{JOBS}/{number}/files/{quote(file.name)}"}
    return {"name": file.name, "size_bytes": file.size_bytes, "links": links}
