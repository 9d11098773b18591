"""Events of a job: as a list, or live as server-sent events that resume where a connection broke."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Annotated, TypeVar

from fastapi import Header, Query, Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.responses import Response

from tidegate.api.access import guarded_router, while_admitted
from tidegate.api.dependencies import JobNumber, ServiceGiven
from tidegate.api.openapi import problems
from tidegate.api.pages import Cursor, Limit, decode_number, most_now, page
from tidegate.api.problems import Refusal
from tidegate.api.views import event_view
from tidegate.ports import Event

router = guarded_router(prefix="/api/v1", tags=["jobs"])

T = TypeVar("T")

PING_S = 15.0
_PING = b": ping\n\n"
After = Annotated[int, Query(ge=0, le=2**62, description="Only events with a larger id.")]
LastEventId = Annotated[
    str | None, Header(max_length=40, description="What a browser sends when it connects again.")
]


@router.get(
    "/jobs/{job_id}/events",
    summary="A job's events",
    response_class=Response,
    responses={
        200: {
            "description": "With `Accept: application/json` a page, else a stream that ends after the final event.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Page_Event_"}},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        },
        204: {
            "description": "The job has ended and there is nothing after the given id: do not connect again."
        },
        **problems("not_found", "bad_cursor"),
    },
)
async def events(
    request: Request,
    service: ServiceGiven,
    number: JobNumber,
    after: After = 0,
    limit: Limit = 1000,
    cursor: Cursor = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Every change of state with its time and a message. The stream also has events `progress`, without an id."""
    limit = most_now(service, limit)
    start = max(after, _resumed(last_event_id))
    if _wants_list(request):
        name = f"events-{number}"
        start = decode_number(name, cursor, start)
        found = await service.run(service.store.events, number, after=start, limit=limit + 1)
        return page(found, limit, name, lambda event: event.id, event_view)
    job = await service.run(service.store.job, number)
    if job.status.final and not await service.run(service.store.events, number, after=start, limit=1):
        return Response(status_code=204)
    return EventSourceResponse(
        while_admitted(request, stream(service.following.follow(number, start), encode)),
        headers={"X-Accel-Buffering": "no"},
    )


def encode(event: Event) -> bytes:
    """One server-sent event; without an id when it is not kept, so that a client resumes after the last one that is."""
    return format_sse_event(
        data_str=json.dumps(event_view(event), ensure_ascii=False),
        event=event.type,
        id=str(event.id) if event.id else None,
    )


async def stream(
    source: AsyncIterator[T], encode: Callable[[T], bytes], ping_s: float = PING_S
) -> AsyncGenerator[bytes, None]:
    """What a source has, as bytes, with a comment when there was nothing for a while, so that the connection is kept."""
    upcoming: asyncio.Task[T] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_following(source))
            done, _ = await asyncio.wait((upcoming,), timeout=ping_s)
            if not done:
                yield _PING
                continue
            event = upcoming.result()
            upcoming = None
            yield encode(event)
    except StopFollowing:
        return
    finally:
        if upcoming is not None and upcoming.cancel():
            await asyncio.wait((upcoming,))
        if isinstance(source, AsyncGenerator):
            await source.aclose()


class StopFollowing(Exception):
    """The source of events has ended. A task cannot end with StopAsyncIteration."""


async def _following(source: AsyncIterator[T]) -> T:
    try:
        return await anext(source)
    except StopAsyncIteration:
        raise StopFollowing from None


def _wants_list(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _resumed(last_event_id: str | None) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise Refusal(
            "invalid_input",
            f"Last-Event-ID must be an id of these events, not {last_event_id!r}.",
            numbers={"field": "last-event-id"},
        )
    return int(last_event_id)
