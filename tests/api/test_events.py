from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.api.support import World, assert_problem
from tidegate.api.events import encode, stream
from tidegate.ports import Event


def read(world: World, path: str, **headers: str) -> list[dict[str, str]]:
    """All events of a stream until its end, as their fields."""
    with world.http.stream("GET", path, headers={"Accept": "text/event-stream", **headers}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        blocks = answer.read().decode().strip().split("\n\n")
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block[0] != ":"]


def test_the_stream_tells_a_jobs_life_in_order_and_ends_with_it(world: World):
    job_id = world.submit()
    events = read(world, f"/api/v1/jobs/{job_id}/events")
    assert [event["event"] for event in events] == ["accepted", "started", "succeeded"]
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    data = json.loads(events[0]["data"])
    assert (data["id"], data["job_id"], data["type"]) == (ids[0], job_id, "accepted")
    assert data["at"].endswith("Z")
    assert data["message"]


def test_a_stream_is_live_while_the_job_waits(world: World):
    world.pause()
    job_id = world.submit()
    with world.http.stream("GET", f"/api/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: accepted"
        world.http.post("/api/v1/queues/default/resume")
        assert [line for line in lines if line.startswith("event:")] == ["event: started", "event: succeeded"]


def test_a_stream_resumes_after_the_last_event_that_was_seen(world: World):
    job_id = world.submit()
    world.finished(job_id)
    path = f"/api/v1/jobs/{job_id}/events"
    first, *rest = read(world, path)
    assert read(world, path, **{"Last-Event-ID": first["id"]}) == rest
    assert read(world, f"{path}?after={first['id']}") == rest
    assert read(world, f"{path}?after=0", **{"Last-Event-ID": first["id"]}) == rest


def test_a_client_that_has_seen_the_final_event_is_told_not_to_return(world: World):
    job_id = world.submit()
    world.finished(job_id)
    path = f"/api/v1/jobs/{job_id}/events"
    last = read(world, path)[-1]["id"]
    assert world.http.get(path, headers={"Last-Event-ID": last}).status_code == 204


def test_events_come_as_a_paged_list_where_json_is_accepted(world: World):
    job_id = world.submit()
    world.finished(job_id)
    path, json_only = f"/api/v1/jobs/{job_id}/events", {"Accept": "application/json"}
    whole = world.http.get(path, headers=json_only).json()
    assert [event["type"] for event in whole["items"]] == ["accepted", "started", "succeeded"]
    assert whole["next_cursor"] is None
    page = world.http.get(path, params={"limit": 2}, headers=json_only).json()
    rest = world.http.get(path, params={"cursor": page["next_cursor"]}, headers=json_only).json()
    assert page["items"] + rest["items"] == whole["items"]
    other = world.submit()
    foreign = world.http.get(
        f"/api/v1/jobs/{other}/events", params={"cursor": page["next_cursor"]}, headers=json_only
    )
    assert_problem(foreign, 422, "bad_cursor")


@pytest.mark.parametrize("last", ["abc", "-1", "9" * 30, "1.5"])
def test_an_id_that_no_event_has_is_refused(shared: World, last: str):
    answer = shared.http.get(f"/api/v1/jobs/{shared.submit()}/events", headers={"Last-Event-ID": last})
    assert assert_problem(answer, 422, "invalid_input")["field"] == "last-event-id"


def test_a_client_that_leaves_a_stream_leaves_no_error(world: World, caplog: pytest.LogCaptureFixture):
    world.pause()
    job_id = world.submit()
    with (
        caplog.at_level(logging.ERROR),
        world.http.stream("GET", f"/api/v1/jobs/{job_id}/events") as answer,
    ):
        assert next(answer.iter_bytes())
    assert world.http.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 200
    assert world.finished(job_id)["job_status"] == "CANCELLED"
    assert caplog.records == []


def test_a_quiet_stream_sends_comments_and_passes_progress_without_an_id():
    release = asyncio.Event()
    ended: list[str] = []

    async def quiet() -> AsyncIterator[Event]:
        try:
            await release.wait()
            yield Event(
                0, 1, None, datetime(2026, 1, 1, tzinfo=UTC), "progress", "50% done.", {"progress": 0.5}
            )
        finally:
            ended.append("closed")

    async def listen() -> list[bytes]:
        seen: list[bytes] = []
        async for piece in stream(quiet(), encode, ping_s=0.001):
            seen.append(piece)
            release.set()
        return seen

    seen = asyncio.run(listen())
    assert seen[0] == b": ping\n\n"
    assert b"event: progress\n" in seen[-1]
    assert b"id:" not in seen[-1].replace(b'"id":', b"")
    assert ended == ["closed"]


def test_closing_a_stream_closes_what_it_follows():
    closed = False

    async def endless() -> AsyncIterator[Event]:
        nonlocal closed
        try:
            await asyncio.Event().wait()
            yield Event(1, 1, None, datetime(2026, 1, 1, tzinfo=UTC), "never", "")
        finally:
            closed = True

    async def leave() -> None:
        following = stream(endless(), encode, ping_s=0.001)
        assert await anext(following) == b": ping\n\n"
        await following.aclose()
        assert closed

    asyncio.run(leave())
