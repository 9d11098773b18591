"""Bodies that are no JSON, or JSON that could mean two things."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi import Request

from tests.api.support import World, assert_problem, logged, world_in
from tidegate.api.bodies import read_body
from tidegate.api.budget import BODIES_BYTES, VALUE_BYTES, BodyBudget
from tidegate.api.files import INCOMING
from tidegate.api.problems import Refusal
from tidegate.core.resources import MIB

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"\xff\xfe",
        b'{"kind": "sql", "sql": "\xff"}',
        b'{"kind": "sql", "kind": "sql"}',
        b'{"kind": NaN}',
        b'{"cpus": Infinity}',
        b'{"cpus": 1e999}',
        b'{"cpus": ' + b"9" * 5000 + b"}",
        b'{"name": "\\ud800"}',
        b'{"name": "\\udc00\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"kind": "sql"} trailing',
        b"kind=sql",
    ],
)
@pytest.mark.parametrize("route", ["/api/v1/jobs", "/api/v1/jobs/bulk", "/api/v1/query", "/api/v1/sources"])
def test_what_is_not_one_json_object_is_malformed(shared: World, route: str, body: bytes):
    if not body and route in ("/api/v1/query", "/api/v1/sources"):
        assert_problem(shared.http.post(route, content=body, headers=JSON), 422, "invalid_input")
        return
    assert_problem(shared.http.post(route, content=body, headers=JSON), 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        '{"jobs": [{"kind": "x"}',
        '{"jobs": [{"kind": "x"},]}',
        '{"jobs": [{"kind": "x"} {"kind": "y"}]}',
        '{"jobs": [,]}',
        '{"jobs": [1,,2]}',
        '{"jobs": [1], "more": 2}',
        '{"jobs": [1]',
        '{"jobs": [1]} x',
        '{"jobs": {}}',
        '{"jobs": [1], "jobs": [2]}',
        '{"job": []}',
        '{"jobs": [NaN]}',
        '{"jobs": [{"a": 1, "a": 2}]}',
    ],
)
def test_a_bulk_body_that_is_not_a_list_of_jobs_is_malformed(shared: World, body: str):
    assert_problem(shared.http.post("/api/v1/jobs/bulk", content=body, headers=JSON), 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        '{"jobs": []}',
        ' { "jobs" : [ ] } ',
        '{"jobs":[\n\t{"kind": "x"} ,\r\n {"kind": "]}"}\n] }\n',
        '{"\\u006aobs": [{"kind": "x"}]}',
    ],
)
def test_a_bulk_body_may_be_spaced_and_escaped_in_any_way(shared: World, body: str):
    answer = shared.http.post("/api/v1/jobs/bulk", content=body, headers=JSON)
    assert answer.status_code == 202, answer.text
    assert len(answer.json()["items"]) == len(json.loads(body)["jobs"])


def test_more_items_than_are_parsed_at_a_time_keep_their_order(shared: World):
    jobs = [{"kind": f"k{number}"} for number in range(1000)]
    answer = shared.http.post("/api/v1/jobs/bulk", json={"jobs": jobs}).json()
    assert answer["refused"] == 1000
    assert [f"'k{n}'" in item["problem"]["detail"] for n, item in enumerate(answer["items"])] == [True] * 1000


def test_whole_pairs_of_surrogates_and_escaped_backslashes_are_text(shared: World):
    for name in ('"\\ud83d\\ude00"', '"\\\\ud800"'):
        body = f'{{"kind": "sql", "sql": "select 1", "name": {name}}}'
        answer = shared.http.post("/api/v1/jobs", content=body, headers=JSON)
        assert answer.status_code == 202, answer.text
        shown = shared.http.get(f"/api/v1/jobs/{answer.json()['job_id']}").json()
        assert shown["name"] == json.loads(name)


def test_a_body_beyond_the_limit_is_too_large_whether_declared_or_streamed(shared: World):
    huge = b'{"kind": "sql", "sql": "' + b"x" * (3 << 20) + b'"}'
    problem = assert_problem(shared.http.post("/api/v1/jobs", content=huge, headers=JSON), 413, "too_large")
    assert problem["asked"] == len(huge)
    assert problem["limit"] == 2 << 20
    chunks = (huge[at : at + 65536] for at in range(0, len(huge), 65536))
    streamed = shared.http.post("/api/v1/jobs", content=chunks, headers=JSON)
    assert_problem(streamed, 413, "too_large")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize(
    "route", ["/api/v1/jobs", "/api/v1/jobs/1/cancel", "/api/v1/query", "/api/v1/queues/a/pause"]
)
def test_a_body_that_a_form_could_send_is_refused(shared: World, route: str, kind: str):
    answer = shared.http.post(
        route, content=b'{"kind": "sql"}', headers={"Content-Type": kind} if kind else {}
    )
    assert_problem(answer, 415, "unsupported_media_type")


def test_a_body_may_be_any_json_type(shared: World):
    answer = shared.http.post(
        "/api/v1/jobs",
        content=b'{"kind": "sql", "sql": "select 1"}',
        headers={"Content-Type": "Application/Vnd.Tidegate+JSON; charset=utf-8"},
    )
    assert answer.status_code == 202


def test_items_of_any_length_are_read_over_the_pieces_that_a_long_list_is_read_in(shared: World):
    lengths = [10, 262_100, 262_144, 300_000, 7, 1_900_000, 524_288, 1]
    jobs = [{"kind": f"k{n}", "name": "x" * length} for n, length in enumerate(lengths)]
    answer = shared.http.post("/api/v1/jobs/bulk", json={"jobs": [*jobs, 7, *jobs]})
    assert answer.status_code == 202, answer.text
    told = [item["problem"]["detail"] for item in answer.json()["items"]]
    assert ["'k" in detail for detail in told] == [True] * 8 + [False] + [True] * 8


@pytest.mark.parametrize("item", ['"' + "x" * (2 * MIB) + '"', "7 8", '{"a": tru}'])
def test_an_item_behind_many_that_is_wrong_is_told_with_its_place(shared: World, item: str):
    many = '{"kind": "x", "name": "' + "y" * 1000 + '"},'
    body = f'{{"jobs": [{many * 300}{item}, {many * 300} 1]}}'
    problem = assert_problem(
        shared.http.post("/api/v1/jobs/bulk", content=body, headers=JSON), 400, "malformed"
    )
    told = [int(number) for number in re.findall(r"\d+", problem["detail"])]
    assert any(abs(number - body.index(item)) < 10 for number in told), problem["detail"]


def test_a_body_that_would_become_more_than_all_may_take_is_too_large(shared: World):
    bomb = "[" + "[]," * 600_000 + "0]"
    problem = assert_problem(
        shared.http.post("/api/v1/jobs/bulk", content=f'{{"jobs": [{bomb},{bomb}]}}', headers=JSON),
        413,
        "too_large",
    )
    assert problem["limit"] == BODIES_BYTES
    assert problem["asked"] > BODIES_BYTES


def test_large_bodies_at_a_time_are_taken_up_to_a_limit_and_small_ones_always(
    world: World, caplog: pytest.LogCaptureFixture
):
    size = 60 * MIB
    head = (
        "POST /api/v1/jobs/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    host, port = world.url.removeprefix("http://").split(":")
    with caplog.at_level(logging.DEBUG, "tidegate.access"):
        with contextlib.ExitStack() as held:
            for _ in range(2):
                client = held.enter_context(socket.create_connection((host, int(port))))
                client.sendall(head.encode())
                client.sendall(b" " * (size - 1))  # all but some buffers full of it has been taken then
            third = held.enter_context(socket.create_connection((host, int(port))))
            third.sendall(head.encode())
            answer = http.client.HTTPResponse(third)
            answer.begin()
            assert (answer.status, answer.getheader("Retry-After")) == (429, "2")
            problem = json.loads(answer.read())
            assert problem["code"] == "too_many_bytes"
            assert (problem["asked"], problem["limit"]) == (2 * size, BODIES_BYTES)
            assert world.submit()
        caplog.clear()
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode())
        logged(world, caplog, "/api/v1/jobs/bulk")
    jobs = json.dumps({"jobs": [{"kind": "x" * MIB}] * 40})
    assert world.http.post("/api/v1/jobs/bulk", content=jobs, headers=JSON).status_code == 202
    assert world.http.post("/api/v1/jobs/bulk", content=jobs, headers=JSON).status_code == 202


@pytest.mark.parametrize(
    ("request_line", "kind"),
    [("POST /api/v1/jobs/bulk", "application/json"), ("PUT /api/v1/files/a.csv", "text/csv")],
)
def test_a_body_that_pauses_for_too_long_is_given_up_with_its_connection(
    tmp_path: Path, request_line: str, kind: str
):
    with world_in(tmp_path, body_idle_s=0.05) as world:
        host, port = world.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            client.sendall(f"{head}Content-Length: 5000000\r\n\r\n".encode() + b" " * 1_000_000)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            problem = json.loads(answer.read())
            assert (answer.status, problem["code"], problem["limit"]) == (408, "body_stalled", 0.05)
            assert "nothing more of the body came for 0.05 s" in problem["detail"]
            assert client.recv(1) == b""
        incoming = world.data_dir / "files" / INCOMING
        assert not incoming.exists() or list(incoming.iterdir()) == []


def test_a_body_that_trickles_in_is_given_up_though_it_never_pauses():
    async def trickle() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" "

    settings = SimpleNamespace(body_idle_s=1e-9)
    state = SimpleNamespace(bodies=BodyBudget(), service=SimpleNamespace(settings=settings))
    slow = SimpleNamespace(headers={}, scope={}, stream=trickle, app=SimpleNamespace(state=state))
    with pytest.raises(Refusal, match="has not come within 2e-08 s") as refused:
        asyncio.run(read_body(cast(Request, slow), MIB))
    assert refused.value.status == 408


def test_the_budget_counts_a_request_until_it_is_answered():
    budget = BodyBudget(1000)
    one: dict[str, object] = {}
    other: dict[str, object] = {}
    budget.take_body(one, 300)
    budget.take_body(other, 200)
    assert budget.used_bytes == 1000
    with pytest.raises(Refusal) as refused:
        budget.take_values(other, "[")
    assert refused.value.code == "too_many_bytes"
    budget.release(one)
    budget.take_values(other, "[{},")
    assert budget.used_bytes == 400 + 3 * VALUE_BYTES
    budget.release(other)
    budget.release(other)
    assert budget.used_bytes == 0
