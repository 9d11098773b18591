"""Routes of sources: named data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, JSONResponse, Response

from tidegate.api import schemas
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import Owner, ServiceGiven
from tidegate.api.downloads import MEDIA_TYPES, download
from tidegate.api.files import Placement, Received, file_name, receive, taken
from tidegate.api.interactive import Answer, Limits, quoted, rows_of, rows_response
from tidegate.api.openapi import content, json_body, problems, raw_body
from tidegate.api.pages import Cursor, Limit, decode_cursor, page
from tidegate.api.views import SOURCES, source_view
from tidegate.core.job import Source
from tidegate.core.names import check_source_name
from tidegate.core.resources import parse_bytes
from tidegate.errors import Conflict, TidegateError
from tidegate.server.service import Service

router = APIRouter(prefix="/api/v1", tags=["sources"])

MOST_PREVIEW_ROWS = 1000
PREVIEW_TIMEOUT_S = 30.0
PreviewLimit = Annotated[int, Query(ge=1, le=MOST_PREVIEW_ROWS, description="Rows to show.")]
Offset = Annotated[int, Query(ge=0, le=2**62, description="Rows to pass over first.")]
FormatName = Annotated[str, Query(max_length=20, description="One of: parquet, csv, jsonl.")]
_FAILED = ("query_failed", "busy")


@router.get(
    "/sources",
    summary="List sources",
    response_model=schemas.Page[schemas.Source],
    responses=problems("bad_cursor"),
)
async def list_sources(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """In order of name."""
    after = decode_cursor("sources", cursor) if cursor is not None else ""
    sources = await service.run(service.store.sources, after=after, limit=limit + 1)
    return page(sources, limit, "sources", lambda source: source.name, source_view)


@router.post(
    "/sources",
    status_code=201,
    summary="Register a source",
    response_model=schemas.Source,
    responses=problems("malformed", "conflict", "too_large", "unsupported_media_type", *_FAILED),
    openapi_extra=json_body(schemas.SourceRequest),
)
async def add_source(request: Request, service: ServiceGiven, owner: Owner) -> JSONResponse:
    """Look at a file, a glob or a folder on the server and register it under a name that queries can use."""
    asked = await json_model(request, schemas.SourceRequest)
    name = check_source_name(asked.name)
    source = await service.register_source(
        owner, name, asked.path, format=asked.format, options=asked.options
    )
    return JSONResponse(source_view(source), 201, {"Location": f"{SOURCES}/{source.name}"})


@router.get(
    "/sources/{name}", summary="Show a source", response_model=schemas.Source, responses=problems("not_found")
)
async def show_source(service: ServiceGiven, name: str) -> JSONResponse:
    """Its columns, types, size, and where it comes from."""
    return JSONResponse(source_view(await service.run(service.store.source, name)))


@router.delete(
    "/sources/{name}",
    status_code=204,
    summary="Delete a source",
    response_class=Response,
    responses=problems("not_found"),
)
async def delete_source(service: ServiceGiven, name: str) -> Response:
    """A file that Tidegate made (an upload or a result) is deleted with it; others stay where they are."""
    source = await service.run(service.store.delete_source, name)
    if source.managed:
        # After the commit: a crash here leaves a file that nothing names, which the janitor removes.
        await service.run(_unlink, Path(source.path))
    return Response(status_code=204)


@router.get(
    "/sources/{name}/preview",
    summary="Preview rows",
    response_model=schemas.Rows,
    responses=problems("not_found", *_FAILED),
)
async def preview(
    service: ServiceGiven, owner: Owner, name: str, limit: PreviewLimit = 50, offset: Offset = 0
) -> Response:
    """A page of rows, in the order of the file."""
    source = await service.run(service.store.source, name)
    return rows_response(await preview_rows(service, owner, source, limit, offset), offset=offset)


@router.get(
    "/sources/{name}/download",
    summary="Download a source",
    response_class=FileResponse,
    responses={
        200: content(*MEDIA_TYPES.values(), description="The file. `Range` works where no export is needed."),
        206: content(*MEDIA_TYPES.values(), description="The part that `Range` asked for."),
        **problems("not_found", "unsupported_format", "range_not_satisfiable", "disk_full", *_FAILED),
    },
)
async def download_source(
    service: ServiceGiven, owner: Owner, name: str, format: FormatName = "parquet"
) -> FileResponse:
    """As one file. Parquet that lies as one file on disk is sent as it is; all else is exported first."""
    return await download(service, owner, await service.run(service.store.source, name), format)


@router.put(
    "/files/{name:path}",
    status_code=201,
    summary="Upload a file",
    response_model=schemas.UploadAnswer,
    responses=problems("conflict", "too_large", "disk_full", *_FAILED),
    openapi_extra=raw_body("The raw bytes, of any size; streamed to disk."),
)
async def upload(
    request: Request,
    service: ServiceGiven,
    owner: Owner,
    name: str,
    source: Annotated[bool, Query(description="Register the file as a source.")] = True,
    source_name: Annotated[
        str | None, Query(max_length=63, description="Default: from the file's name.")
    ] = None,
    overwrite: Annotated[
        bool, Query(description="Replace an existing file, and the source made of it.")
    ] = False,
) -> JSONResponse:
    """The file appears whole and written through to the disk, or not at all."""
    file = file_name(name)
    called = _source_name(file, source_name) if source else None
    target = service.settings.data_dir.expanduser().resolve() / "files" / file
    old = await _refuse_early(service, target, called, overwrite=overwrite)
    received = await receive(
        service,
        request.stream(),
        target.parent,
        declared_bytes=_declared(request),
        limit_bytes=parse_bytes(service.settings.max_upload, name="max_upload"),
    )
    registered = await _place(service, owner, received, target, called, old, overwrite=overwrite)
    body: dict[str, Any] = {
        "name": file,
        "path": str(target),
        "size_bytes": received.size_bytes,
        "sha256": received.sha256,
        "source": source_view(registered) if registered is not None else None,
    }
    return JSONResponse(body, 201)


async def preview_rows(service: Service, owner: str, source: Source, limit: int, offset: int) -> Answer:
    """A page of a source's rows, read by an interactive job."""
    sql = f"select * from {quoted(source.name)} limit {limit} offset {offset}"
    return await rows_of(service, owner, sql, Limits(rows=limit, time_s=PREVIEW_TIMEOUT_S))


def source_name_of(file: str) -> str:
    """A name for SQL from a file's: `2026 trips.csv.gz` becomes `_2026_trips`. It may still be a reserved word."""
    stem = file.partition(".")[0]
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in stem)[:62]
    return f"_{name}" if name[:1].isdigit() else name


def _source_name(file: str, given: str | None) -> str:
    return check_source_name(source_name_of(file) if given is None else given, field="source_name")


async def _refuse_early(
    service: Service, target: Path, called: str | None, *, overwrite: bool
) -> Source | None:
    """Before a long body is sent: what would refuse it in the end. The source that an overwrite replaces, if any."""
    if not overwrite and await service.run(target.exists):
        raise taken(target.name)
    existing = await service.run(service.store.sources_named, [called]) if called is not None else []
    if existing and not (overwrite and existing[0].managed and existing[0].path == str(target)):
        raise Conflict(
            f"There is a source named {existing[0].name!r} already. Delete it, or give another `source_name`.",
            code="source_exists",
        )
    return existing[0] if existing else None


async def _place(
    service: Service,
    owner: str,
    received: Received,
    target: Path,
    called: str | None,
    old: Source | None,
    *,
    overwrite: bool,
) -> Source | None:
    """Put the file in its place and register it; a file that cannot be registered is taken back."""
    placement = Placement(received, target)
    await service.run(placement.put, overwrite=overwrite)
    try:
        registered = await _register(service, owner, called, target, old) if called is not None else None
    except BaseException:
        placement.take_back()
        raise
    await service.run(placement.keep)
    return registered


async def _register(service: Service, owner: str, called: str, target: Path, old: Source | None) -> Source:
    if old is None:
        return await service.register_source(owner, called, str(target), managed=True)
    await service.run(service.store.delete_source, old.name)
    try:
        return await service.register_source(owner, called, str(target), managed=True)
    except TidegateError:
        await service.run(service.store.add_source, old)
        raise


def _declared(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdigit() and len(length) < 19 else None


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
