"""What a job prints: as text, or live while it prints, as text or as server-sent events that resume."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

from fastapi import Query, Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from tidegate.api.access import guarded_router, while_admitted
from tidegate.api.dependencies import JobNumber, ServiceGiven
from tidegate.api.events import LastEventId, stream
from tidegate.api.openapi import problems
from tidegate.api.problems import Refusal
from tidegate.core.job import AttemptKey
from tidegate.errors import NotFound
from tidegate.ports import TaskRecord
from tidegate.server.output import Printed
from tidegate.server.service import Service

router = guarded_router(prefix="/api/v1", tags=["jobs"])

MOST_TAIL_LINES = 100_000
_BLOCK_BYTES = 64 * 1024
_TEXT = "text/plain; charset=utf-8"
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,15})", re.ASCII)
_LIVE = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}


@router.get(
    "/jobs/{job_id}/logs",
    summary="What a job printed",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "The text so far, or nothing. With `follow`, or with `Accept: text/event-stream`, all that is "
            "printed until the end.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        204: {"description": "The job has ended and there is nothing after the given id: do not connect again."},
        **problems("not_found"),
    },
)  # fmt: skip
async def logs(
    request: Request,
    service: ServiceGiven,
    number: JobNumber,
    task: Annotated[int, Query(ge=1, le=10**9, description="Number of the task.")] = 1,
    attempt: Annotated[
        int | None,
        Query(
            ge=1,
            le=10**9,
            description="The attempt; default: the newest, and while followed all that come after it.",
        ),
    ] = None,
    tail: Annotated[
        int | None,
        Query(ge=0, le=MOST_TAIL_LINES, description="Only so many last lines, and what follows them."),
    ] = None,
    follow: Annotated[bool, Query(description="Go on until the end.")] = False,
    last_event_id: LastEventId = None,
) -> Response:
    """Standard output and error together, as they came. Events `output` have the text and its place in bytes."""
    record = await _task(service, number, task)
    if _wants_events(request):
        return await _events(request, service, record, attempt, tail, last_event_id)
    key = _attempt(record, attempt)
    path = await service.run(service.following.log_of, key) if key is not None else None
    if follow:
        offset = await service.run(_offset_of_tail, path, tail)
        parts = service.following.output(
            number, task, key.attempt if key else None, offset, only=attempt is not None
        )
        return StreamingResponse(while_admitted(request, _bytes(parts)), media_type=_TEXT, headers=_LIVE)
    if path is None:
        return PlainTextResponse("")
    if tail is None:
        return FileResponse(path, media_type=_TEXT, content_disposition_type="inline")
    return Response(await service.run(last_lines, path, tail), media_type=_TEXT)


async def _events(
    request: Request,
    service: Service,
    record: TaskRecord,
    attempt: int | None,
    tail: int | None,
    last_event_id: str | None,
) -> Response:
    key = _attempt(record, attempt)
    job_id, task = record.key.job_id, record.key.number
    number = key.attempt if key else None
    if last_event_id:
        number, offset = _resumed(last_event_id)
        if attempt is not None and number != attempt:
            raise _no_place(last_event_id)
        if record.state.final and await service.run(_all_seen, service, record, number, offset):
            return Response(status_code=204)
    else:
        path = await service.run(service.following.log_of, key) if key is not None else None
        offset = await service.run(_offset_of_tail, path, tail)
    parts = service.following.output(job_id, task, number, offset, only=attempt is not None)
    told = stream(whole_characters(parts), encode=encode)
    return EventSourceResponse(while_admitted(request, told), headers=_LIVE)


async def whole_characters(parts: AsyncGenerator[Printed, None]) -> AsyncGenerator[Printed, None]:
    """The same output cut between characters: the bytes of one that is not whole yet wait for the next part."""
    held: Printed | None = None
    async with aclosing(parts):
        async for part in parts:
            if held is not None and held.attempt == part.attempt:
                part = Printed(part.attempt, held.offset, held.data + part.data)
            elif held is not None:
                yield held
            whole, held = _cut(part)
            if whole.data:
                yield whole
    if held is not None:
        yield held


def _cut(part: Printed) -> tuple[Printed, Printed | None]:
    at = len(part.data) - unfinished_bytes(part.data)
    rest = part.data[at:]
    return (
        Printed(part.attempt, part.offset, part.data[:at]),
        Printed(part.attempt, part.offset + at, rest) if rest else None,
    )


def unfinished_bytes(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that is not whole; at most 3."""
    for back in range(1, min(len(data), 3) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            needs = (
                4 if 0xF0 <= byte < 0xF5 else 3 if 0xE0 <= byte < 0xF0 else 2 if 0xC2 <= byte < 0xE0 else 1
            )
            return back if needs > back else 0
    return 0


def encode(part: Printed) -> bytes:
    """One server-sent event. Its id says where to go on."""
    data = {"attempt": part.attempt, "offset": part.offset, "text": part.data.decode("utf-8", "replace")}
    return format_sse_event(
        data_str=json.dumps(data, ensure_ascii=False), event="output", id=f"{part.attempt}:{part.end}"
    )


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


def _offset_of_tail(path: Path | None, tail: int | None) -> int:
    """Where the last lines of what is printed so far begin."""
    if path is None or tail is None:
        return 0
    # The size first: what is printed meanwhile makes the tail longer, and is followed anyway.
    size = path.stat().st_size
    return max(size - len(last_lines(path, tail)), 0)


def _all_seen(service: Service, record: TaskRecord, number: int, offset: int) -> bool:
    if record.attempts and number < record.attempts[-1].key.attempt:
        return False
    path = service.following.log_of(AttemptKey(record.key.job_id, record.key.number, number))
    return path is None or path.stat().st_size <= offset


async def _bytes(parts: AsyncGenerator[Printed, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(parts):
        async for part in parts:
            yield part.data


async def _task(service: Service, job_id: int, task: int) -> TaskRecord:
    """Raises NotFound."""
    tasks = await service.run(service.store.tasks, job_id, after=task - 1, limit=1)
    if not tasks or tasks[0].key.number != task:
        raise NotFound(f"Job {job_id} has no task {task}.")
    return tasks[0]


def _attempt(record: TaskRecord, attempt: int | None) -> AttemptKey | None:
    """The attempt that was asked for, or the newest; None when there was none yet. Raises NotFound."""
    keys = [each.key for each in record.attempts]
    if attempt is None:
        return keys[-1] if keys else None
    for key in keys:
        if key.attempt == attempt:
            return key
    raise NotFound(f"Task {record.key} has no attempt {attempt}; it has made {len(keys)}.")


def _wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _resumed(last_event_id: str) -> tuple[int, int]:
    match = _PLACE.fullmatch(last_event_id)
    if match is None:
        raise _no_place(last_event_id)
    return int(match[1]), int(match[2])


def _no_place(last_event_id: str) -> Refusal:
    return Refusal(
        "invalid_input",
        f"Last-Event-ID must be an id of this output, such as 1:4096, not {last_event_id!r}.",
        numbers={"field": "last-event-id"},
    )
