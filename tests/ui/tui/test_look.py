"""Asking a server: what an older one, a busy one or a strict one leaves out does not take the rest away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.ui.tui.answering import EMPTY, OLD, Answering, answering
from tidegate.client.aio import AsyncClient
from tidegate.client.session import Target
from tidegate.errors import AccessDenied, Busy, ServerUnreachable
from tidegate.ui.tui.cells import UNICODE
from tidegate.ui.tui.look import SELDOM_S, Filter, Watcher
from tidegate.ui.tui.plain import plain_lines
from tidegate.ui.tui.tables import TABLES


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def watched(url: str, watch: Callable[[Watcher, Clock], Awaitable[Any]]) -> None:
    async def run() -> None:
        clock = Clock()
        async with AsyncClient(lambda: Target(url, None)) as client:
            await watch(Watcher(client, clock), clock)

    asyncio.run(run())


def asked(server: Answering) -> list[str]:
    paths = sorted({path.partition("?")[0].removeprefix("/api/v1/") for path in server.paths})
    server.paths.clear()
    return paths


OFTEN = ["jobs", "monitoring/system", "pressure", "queues", "workers"]


def test_an_older_server_shows_what_it_has():
    async def watch(watcher: Watcher, _: Clock) -> None:
        picture = await watcher.look()
        assert picture.items("workers") == ()
        assert set(picture.missing) == {"system", "pressure", "mode", "ready", "health", "alerts", "whoami"}
        assert picture.missing["alerts"] == "There is no such route."
        text = "\n".join(plain_lines(picture, UNICODE))
        assert "There is no worker: jobs wait." in text
        assert "Health and alerts: There is no such route., no failing checks" in text
        for table in TABLES.values():
            assert table(picture, UNICODE).rows == []

    with answering() as server:
        watched(server.url, watch)


def test_what_the_role_may_not_see_is_said_and_the_rest_is_shown():
    denied = (403, {"status": 403, "code": "access_denied", "detail": "Your role is viewer."})

    async def watch(watcher: Watcher, _: Clock) -> None:
        picture = await watcher.look()
        assert picture.missing["queues"] == "Your role is viewer."
        assert TABLES["queues"](picture, UNICODE).empty == "Your role is viewer."
        assert "workers" in picture.parts

    with answering({**OLD, "/api/v1/queues": denied}) as server:
        watched(server.url, watch)


def test_what_changes_seldom_is_asked_for_seldom():
    async def watch(watcher: Watcher, clock: Clock) -> None:
        await watcher.look()
        seldom = ["alerts", "health/ready", "health/workers", "safe-mode", "whoami"]
        assert asked(server) == sorted([*OFTEN, *seldom])
        clock.now_s += SELDOM_S - 0.1
        await watcher.look()
        assert asked(server) == OFTEN
        watcher.forget()
        await watcher.look()
        assert len(asked(server)) == len(OFTEN) + len(seldom)

    with answering() as server:
        watched(server.url, watch)


def test_a_part_that_the_server_is_too_busy_for_stays_as_it_was():
    queue = {"name": "etl", "waiting": 3, "running": 0, "max_concurrent": None, "weight": 1, "paused": False}
    busy = (429, {"status": 429, "code": "overloaded", "detail": "Later.", "retry_after_s": 9})

    async def watch(watcher: Watcher, _: Clock) -> None:
        await watcher.look()
        server.answers["/api/v1/queues"] = busy
        picture = await watcher.look()
        assert [each["name"] for each in picture.items("queues")] == ["etl"]
        assert picture.late == {"queues": "Later."}

    page = {"items": [queue], "next_cursor": None}
    with answering({**OLD, "/api/v1/queues": (200, page)}) as server:
        watched(server.url, watch)


def test_when_nothing_can_be_had_that_is_an_error():
    async def busy(watcher: Watcher, _: Clock) -> None:
        with pytest.raises(Busy, match="Come again") as caught:
            await watcher.look()
        assert caught.value.numbers["retry_after_s"] == 9

    async def closed(watcher: Watcher, _: Clock) -> None:
        with pytest.raises(AccessDenied, match="API key"):
            await watcher.look()

    with answering() as server:
        server.refuse(429, "Come again.", retry_after_s=9)
        watched(server.url, busy)
        server.refuse(401, "This server wants an API key.")
        watched(server.url, closed)

    async def away(watcher: Watcher, _: Clock) -> None:
        with pytest.raises(ServerUnreachable):
            await watcher.look()

    watched("http://127.0.0.1:9", away)


def test_a_wrong_key_is_shown_to_the_server_once_a_look():
    async def watch(watcher: Watcher, _: Clock) -> None:
        server.refuse(401, "No such key.")
        for _look in range(2):
            with pytest.raises(AccessDenied, match="No such key"):
                await watcher.look()
            assert asked(server) == ["whoami"]
        server.answers = dict(OLD)
        await watcher.look()
        assert len(asked(server)) == 10
        server.refuse(401, "It is revoked.")
        with pytest.raises(AccessDenied, match="revoked"):
            await watcher.look()
        server.paths.clear()
        with pytest.raises(AccessDenied, match="revoked"):
            await watcher.look()
        assert asked(server) == ["whoami"]

    with answering() as server:
        watched(server.url, watch)


def test_after_a_long_outage_the_first_look_is_a_whole_one():
    with answering() as server:
        urls = ["http://127.0.0.1:9"]

        async def run() -> None:
            async with AsyncClient(lambda: Target(urls[-1], None)) as client:
                watcher = Watcher(client)
                for _ in range(5):
                    with contextlib.suppress(ServerUnreachable, Busy):
                        await watcher.look()
                urls.append(server.url)
                await client.find_again()
                picture = await watcher.look()
                assert ("workers" in picture.parts, picture.late) == (True, {})

        asyncio.run(run())


def test_each_request_is_sent_once():
    async def watch(watcher: Watcher, _: Clock) -> None:
        server.refuse(503, "The store is away.", retry_after_s=0)
        with pytest.raises(Exception, match="store"):
            await watcher.look()
        assert len(server.paths) == len(set(server.paths)) == 11

    with answering() as server:
        watched(server.url, watch)


def test_a_filter_asks_the_server_for_what_it_knows_and_looks_for_words_itself():
    jobs = [
        {"job_id": str(n), "name": name, "kind": "sql", "queue": "etl"}
        for n, name in enumerate(("Rain", "sun"))
    ]

    async def watch(watcher: Watcher, _: Clock) -> None:
        watcher.filter = Filter.parse("  queue:etl rain  owner:ann ")
        assert watcher.filter.text == "queue:etl rain owner:ann"
        picture = await watcher.look()
        assert [job["name"] for job in picture.items("running")] == ["Rain"]
        queries = [parse_qs(urlsplit(path).query) for path in server.paths if "/jobs?" in path]
        assert {query["status"][0] for query in queries} == {"RUNNING", "QUEUED"}
        assert all((query["queue"], query["owner"]) == (["etl"], ["ann"]) for query in queries)
        assert all(query["order"] == ["oldest"] for query in queries)

    with answering({**OLD, "/api/v1/jobs": (200, {**EMPTY, "items": jobs})}) as server:
        watched(server.url, watch)
