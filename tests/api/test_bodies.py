"""Bodies that are no JSON, or JSON that could mean two things."""

from __future__ import annotations

import json

import pytest

from tests.api.support import World, assert_problem

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
