"""Data sets as files: as they lie on disk, or exported by an interactive job and deleted after they were sent."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from tidegate.api.interactive import finished, quoted
from tidegate.api.problems import Refusal
from tidegate.core.identity import Caller
from tidegate.core.source import Source
from tidegate.errors import NotFound
from tidegate.server.service import Service

MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.file",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
SUPPORTED = tuple(MEDIA_TYPES)
EXPORT_TIMEOUT_S = 3600.0
EXPORTS_AGAIN_S = 30.0
"""A level lasts for so long at least after its cause has gone."""


async def download(
    service: Service, caller: Caller, source: Source, format: str, *, of_job: bool = False
) -> FileResponse:
    """A source as one file of the format. Raises `unsupported_format`, NotFound, or what its export ended with.

    `of_job`: it is what a job has come to, which pressure does not keep from whoever waits for it.
    """
    if format not in MEDIA_TYPES:
        raise Refusal(
            "unsupported_format",
            f"format: {format!r:.40} is not supported. It must be one of: {', '.join(SUPPORTED)}.",
            numbers={"field": "format"},
        )
    path = Path(service.sources.path_of(source))
    # Only what Tidegate itself put there: another's path may have become a link to anywhere since it was judged.
    if format == source.format == "parquet" and source.managed and not source.parts[1:]:
        return await _file(service, source.name, path, format, once=False)
    if not of_job:
        refuse_exports(service)
    fields = {
        "kind": "sql",
        "sql": f"select * from {quoted(source.name)}",
        "output": {"kind": "file", "format": format},
    }
    _, result = await finished(service, caller, fields, EXPORT_TIMEOUT_S, source.owner)
    return await _file(
        service, source.name, Path(service.sources.managed_path(result["path"])), format, once=True
    )


def refuse_exports(service: Service) -> None:
    """Raise `pressure` while making files of data sets is not allowed."""
    overload = service.pressure.overload
    if not overload.allowed().exports:
        raise Refusal(
            "pressure",
            f"The server is under pressure ({overload.level()}) and makes no files in another format until that is over. Try "
            f"again in {EXPORTS_AGAIN_S:g} s, or download it as it lies.",
            numbers={"level": str(overload.level()), "retry_after_s": EXPORTS_AGAIN_S},
            headers={"Retry-After": f"{EXPORTS_AGAIN_S:.0f}"},
        )


async def _file(service: Service, name: str, path: Path, format: str, *, once: bool) -> FileResponse:
    try:
        found = await service.run(path.stat)
    except FileNotFoundError:
        raise NotFound(f"The file of {name!r} is not there any more.") from None
    kind = _OnceResponse if once else RangeResponse
    return kind(path, media_type=MEDIA_TYPES[format], filename=f"{name}.{format}", stat_result=found)


class RangeResponse(FileResponse):
    """A file of which a client may ask for a range; a bad range becomes a problem like every other error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                raise self._bad_range()
            await send(message)

        await super().__call__(scope, receive, send_checked)

    def _bad_range(self) -> Refusal:
        size = self.stat_result.st_size if self.stat_result is not None else 0
        return Refusal(
            "range_not_satisfiable",
            f"The file has {size} bytes, and the header `Range` names none of them.",
            numbers={"limit": size},
            headers={"Content-Range": f"bytes */{size}"},
        )


class _OnceResponse(FileResponse):
    """A file that nobody needs after this answer, or after the client has gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(Path(self.path).unlink, missing_ok=True)


__all__ = ["MEDIA_TYPES", "SUPPORTED", "RangeResponse", "download"]
