"""Routes of sources: named data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import Query, Request
from starlette.responses import FileResponse, JSONResponse, Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import arriving, json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.downloads import MEDIA_TYPES, download
from tidegate.api.files import Placement, Received, file_name, receive, taken
from tidegate.api.interactive import Answer, Limits, quoted, rows_of, rows_response
from tidegate.api.openapi import content, json_body, problems, raw_body
from tidegate.api.pages import Cursor, Limit, decode_cursor, most_now, page
from tidegate.api.views import SOURCES, source_view
from tidegate.core.identity import LOCAL_OWNER, Caller
from tidegate.core.names import check_source_name, files_folder, source_name_of
from tidegate.core.resources import parse_bytes
from tidegate.core.source import Source
from tidegate.errors import AccessDenied, Conflict
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["sources"])

MOST_PREVIEW_ROWS = 1000
PREVIEW_TIMEOUT_S = 30.0
PreviewLimit = Annotated[int, Query(ge=1, le=MOST_PREVIEW_ROWS, description="Rows to show.")]
Offset = Annotated[int, Query(ge=0, le=2**62, description="Rows to pass over first.")]
FormatName = Annotated[str, Query(max_length=20, description="One of: parquet, csv, jsonl, arrow, xlsx.")]
_FAILED = ("query_failed", "busy")


OwnerName = Annotated[
    str | None,
    Query(
        max_length=63, description="Whose source is meant; default: the caller's own, else the shared one."
    ),
]


class _SourceOf(NamedTuple):
    """What an upload shall become: whose, under which name (None: no source), in place of which old one."""

    caller: Caller
    name: str | None
    shared: bool
    old: Source | None
    sheet: str | None = None


@router.get(
    "/sources",
    summary="List sources",
    response_model=schemas.Page[schemas.Source],
    responses=problems("bad_cursor"),
)
async def list_sources(
    service: ServiceGiven,
    caller: CallerGiven,
    limit: Limit = 50,
    cursor: Cursor = None,
    owner: Annotated[str | None, Query(max_length=63, description="Only sources of this owner.")] = None,
) -> JSONResponse:
    """The caller's own and those that are shared; operators see all. In order of owner and name."""
    limit = most_now(service, limit)
    after = decode_cursor("sources", cursor) if cursor is not None else ""
    reader = None if caller.sees_all else caller.owner
    sources = await service.run(
        service.store.sources, reader=reader, owner=owner, after=after, limit=limit + 1
    )
    return page(
        sources,
        limit,
        "sources",
        lambda source: source.key,
        lambda source: source_view(service, source, caller),
    )


@router.post(
    "/sources",
    status_code=201,
    summary="Register a source",
    response_model=schemas.Source,
    responses=problems("malformed", "conflict", "too_large", "unsupported_media_type", *_FAILED),
    openapi_extra=json_body(schemas.SourceRequest),
)
async def add_source(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """Look at a file, a glob or a folder on the server and register it under a name that queries can use."""
    asked = await json_model(request, schemas.SourceRequest)
    name = check_source_name(asked.name)
    source = await service.sources.register(
        caller,
        name,
        asked.path,
        format=asked.format,
        options=asked.options,
        sheet=asked.sheet,
        shared=asked.shared,
    )
    return JSONResponse(source_view(service, source, caller), 201, {"Location": f"{SOURCES}/{source.name}"})


@router.get(
    "/sources/{name}",
    summary="Show a source",
    response_model=schemas.Source,
    responses=problems("not_found", "conflict"),
)
async def show_source(
    service: ServiceGiven, caller: CallerGiven, name: str, owner: OwnerName = None
) -> JSONResponse:
    """Its columns, types, size, and where it comes from."""
    return JSONResponse(source_view(service, await service.sources.find(caller, name, owner), caller))


@router.delete(
    "/sources/{name}",
    status_code=204,
    summary="Delete a source",
    response_class=Response,
    responses=problems("not_found", "conflict"),
)
async def delete_source(
    service: ServiceGiven, caller: CallerGiven, name: str, owner: OwnerName = None
) -> Response:
    """A file that Tidegate made (an upload or a result) is deleted with it; others stay where they are."""
    source = await service.sources.find(caller, name, owner)
    if not caller.sees(source.owner):
        raise AccessDenied(
            f"The source {source.name!r} belongs to {source.owner!r}. Only its owner may delete it."
        )
    source = await service.run(service.store.delete_source, source.name, source.owner, caller)
    if source.managed:
        # After the commit: a crash here leaves a file that nothing names, which the janitor removes.
        await service.run(_unlink, [Path(service.sources.managed_path(path)) for path in source.paths])
    return Response(status_code=204)


@router.get(
    "/sources/{name}/preview",
    summary="Preview rows",
    response_model=schemas.Rows,
    responses=problems("not_found", "conflict", *_FAILED),
)
async def preview(
    service: ServiceGiven,
    caller: CallerGiven,
    name: str,
    owner: OwnerName = None,
    limit: PreviewLimit = 50,
    offset: Offset = 0,
) -> Response:
    """A page of rows, in the order of the file."""
    source = await service.sources.find(caller, name, owner)
    return rows_response(await preview_rows(service, caller, source, limit, offset), offset=offset)


@router.get(
    "/sources/{name}/download",
    summary="Download a source",
    response_class=FileResponse,
    responses={
        200: content(*MEDIA_TYPES.values(), description="The file. `Range` works where no export is needed."),
        206: content(*MEDIA_TYPES.values(), description="The part that `Range` asked for."),
        **problems(
            "not_found", "conflict", "unsupported_format", "range_not_satisfiable", "disk_full", *_FAILED
        ),
    },
)
async def download_source(
    service: ServiceGiven,
    caller: CallerGiven,
    name: str,
    owner: OwnerName = None,
    format: FormatName = "parquet",
) -> FileResponse:
    """As one file. Parquet that lies as one file on disk is sent as it is; all else is exported first."""
    return await download(service, caller, await service.sources.find(caller, name, owner), format)


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
    caller: CallerGiven,
    name: str,
    source: Annotated[bool, Query(description="Register the file as a source.")] = True,
    source_name: Annotated[
        str | None, Query(max_length=63, description="Default: from the file's name.")
    ] = None,
    overwrite: Annotated[
        bool, Query(description="Replace an existing file, and the source made of it.")
    ] = False,
    shared: Annotated[bool, Query(description="Whether every owner may read the source.")] = False,
    sheet: Annotated[str | None, Query(max_length=255, description="Of an Excel file: which sheet.")] = None,
) -> JSONResponse:
    """The file appears whole and written through to the disk, or not at all."""
    file = file_name(name)
    called = _source_name(file, source_name) if source else None
    target = service.data_dir / files_folder(caller.owner) / file
    old = await _refuse_early(service, caller, target, called, overwrite=overwrite)
    received = await receive(
        service,
        arriving(request),
        service.data_dir / files_folder(LOCAL_OWNER),
        declared_bytes=_declared(request),
        limit_bytes=parse_bytes(service.settings.max_upload, name="max_upload"),
    )
    wanted = _SourceOf(caller, called, shared, old, sheet)
    registered = await _place(service, wanted, received, target, overwrite=overwrite)
    body: dict[str, Any] = {
        "name": file,
        "path": str(target),
        "size_bytes": received.size_bytes,
        "sha256": received.sha256,
        "source": source_view(service, registered, caller) if registered is not None else None,
    }
    return JSONResponse(body, 201)


async def preview_rows(service: Service, caller: Caller, source: Source, limit: int, offset: int) -> Answer:
    """A page of a source's rows, read by an interactive job."""
    sql = f"select * from {quoted(source.name)} limit {limit} offset {offset}"
    limits = Limits(rows=limit, time_s=PREVIEW_TIMEOUT_S)
    return await rows_of(service, caller, sql, limits, reads_as=source.owner)


def _source_name(file: str, given: str | None) -> str:
    return check_source_name(source_name_of(file) if given is None else given, field="source_name")


async def _refuse_early(
    service: Service, caller: Caller, target: Path, called: str | None, *, overwrite: bool
) -> Source | None:
    """Before a long body is sent: what would refuse it in the end. The source that an overwrite replaces, if any."""
    if not overwrite and await service.run(target.exists):
        raise taken(target.name)
    existing = await service.sources.own(caller.owner, called) if called is not None else None
    if existing and not (overwrite and existing.managed and _made_of(service, existing, target)):
        raise Conflict(
            f"There is a source named {existing.name!r} already. Delete it, or give another `source_name`.",
            code="source_exists",
        )
    return existing


def _made_of(service: Service, source: Source, file: Path) -> bool:
    """Whether a managed source is this file, or was converted from it."""
    origins = (source.path, *source.lineage) if source.sql is None else (source.path,)
    return str(file) in map(service.sources.managed_path, origins)


async def _place(
    service: Service, wanted: _SourceOf, received: Received, target: Path, *, overwrite: bool
) -> Source | None:
    """Put the file in its place and register it; a file that cannot be registered is taken back.

    The old source stays until the new one takes its place, in one step. Whoever cancels this request in between finds
    the old file under the old source.
    """
    placement = Placement(received, target)
    source = None
    try:
        await service.run(placement.put, overwrite=overwrite)
        if wanted.name is not None:
            path = f"{files_folder(wanted.caller.owner)}/{target.name}"
            source = await service.sources.look_at(
                wanted.caller, wanted.name, path, sheet=wanted.sheet, managed=True, shared=wanted.shared
            )
    except BaseException:
        placement.take_back()
        raise
    # In a thread: what has begun there comes to its end, whoever waits for it.
    await service.run(_settle, service, placement, wanted, source)
    return source


def _settle(service: Service, placement: Placement, wanted: _SourceOf, source: Source | None) -> None:
    try:
        if source is not None and wanted.old is not None:
            service.store.replace_source(wanted.old, source, wanted.caller)
        elif source is not None:
            service.store.add_source(source, wanted.caller)
    except BaseException:
        placement.take_back()
        raise
    placement.keep()


def _declared(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdigit() and len(length) < 19 else None


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
