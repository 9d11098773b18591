"""The busiest requests enter without the router. They must be answered as the router would have them answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.support import service_in
from tidegate.api import create_app
from tidegate.api.application import Api
from tidegate.api.guard import Guard, allowed_hosts, no_entrance
from tidegate.api.jobs import entrance
from tidegate.server.service import Service

JSON = {"content-type": "application/json"}
GOOD = {"kind": "sql", "sql": "select 1"}
SUBMISSIONS = [
    (JSON, json.dumps(GOOD)),
    ({**JSON, "idempotency-key": "once"}, json.dumps(GOOD)),
    ({**JSON, "idempotency-key": "x" * 201}, json.dumps(GOOD)),
    ({**JSON, "x-request-id": "mine"}, json.dumps({**GOOD, "memory": "1TiB"})),
    (JSON, json.dumps({**GOOD, "memroy": 1})),
    (JSON, json.dumps({"kind": "sql"})),
    (JSON, json.dumps({"kind": "nothing"})),
    (JSON, '{"kind": "sql", "sql": "select 1", "timeout_s": NaN}'),
    (JSON, "[1]"),
    (JSON, "{"),
    (JSON, ""),
    (JSON, '"' + "x" * (2 * 1024 * 1024) + '"'),
    ({"content-type": "text/plain"}, json.dumps(GOOD)),
    ({**JSON, "origin": "http://evil.example"}, json.dumps(GOOD)),
    ({**JSON, "host": "evil.example"}, json.dumps(GOOD)),
]
WAITS = ("0", "5", "59", "60", "61", "0.25", "60.5", "nan", "-1", "", "1&wait_s=2", "1&other=1")
PLACES = (
    "/1",
    "/01",
    "/0",
    "/99",
    "/" + "9" * 30,
    "/abc",
    "/%31",
    "/%D9%A1",
    "/1/",
    "//1",
    "/",
    "/1?other=1",
)
LOOKS = [*PLACES, *(f"/1?wait_s={wait}" for wait in WAITS)]


async def _both(service: Service) -> list[tuple[str, Any, Any]]:
    """What was asked, and the answer to each of two askers: by the entrance, and by the router."""
    hosts = allowed_hosts(service.settings)
    seen: list[list[Any]] = []
    for way in (entrance, no_entrance):
        app = create_app(service)
        assert isinstance(app, Api)
        app.guard = Guard(
            super(Api, app).__call__, hosts, app.state.bodies, service.doorkeeper, app.state.admission, way
        )
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1"
        ) as http:
            answers = [
                await http.post("/api/v1/jobs", headers=headers, content=body)
                for headers, body in SUBMISSIONS
            ]
            await http.get("/api/v1/jobs/1?wait_s=30")
            answers += [await http.get(f"/api/v1/jobs{rest}") for rest in LOOKS]
            answers += [await http.head("/api/v1/jobs/1"), await http.put("/api/v1/jobs", json={})]
            seen.append([_essence(answer) for answer in answers])
    asked = [*(f"{headers} {body:.60}" for headers, body in SUBMISSIONS), *LOOKS, "HEAD", "PUT"]
    return list(zip(asked, *seen, strict=True))


def _essence(answer: httpx2.Response) -> Any:
    """The answer without what differs from one request to the next."""
    headers = {
        name: value for name, value in answer.headers.items() if name not in ("location", "content-length")
    }
    if answer.request.headers.get("x-request-id") is None:
        assert len(headers.pop("x-request-id")) == 16
    body: Any = answer.json() if answer.content else None
    if answer.status_code == 202:
        job_id = body.pop("job_id")
        assert answer.headers["location"] == body.pop("links")["self"] == f"/api/v1/jobs/{job_id}"
        for name in ("position", "created", "job_status"):
            assert name in body
            del body[name]
    return answer.status_code, headers, body


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any, Any]]:
    folder: Path = tmp_path_factory.mktemp("entrance")
    with service_in(folder) as (service, _):
        return asyncio.run(_both(service))


@pytest.mark.parametrize("number", range(len(SUBMISSIONS) + len(LOOKS) + 2))
def test_the_answer_is_the_same_by_either_way(answers: list[tuple[str, Any, Any]], number: int) -> None:
    asked, entered, routed = answers[number]
    assert entered == routed, asked


def test_the_usual_requests_do_not_pass_the_router() -> None:
    def asked(method: str, path: str, query: bytes = b"") -> bool:
        return entrance({"method": method, "path": path, "query_string": query}) is not None

    assert asked("POST", "/api/v1/jobs")
    assert asked("GET", "/api/v1/jobs/81")
    assert asked("GET", "/api/v1/jobs/81", b"wait_s=30")
    assert not asked("GET", "/api/v1/jobs/81", b"wait_s=61")
    assert not asked("GET", "/api/v1/jobs/81/tasks")
    assert not asked("GET", "/api/v1/jobs")
