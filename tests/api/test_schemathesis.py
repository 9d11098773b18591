"""Made-up requests after the OpenAPI description: none may end in a server error, all answers as described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.api.support import World, world_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("attacked"), query_timeout_s=2.0) as world:
        world.http.put("/api/v1/files/trips.csv", content=b"a\n1\n")
        world.finished(world.submit(result_name="made"))
        yield world


@pytest.fixture(scope="module")
def api(attacked: World) -> Any:
    return schemathesis.openapi.from_url(f"{attacked.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_no_request_ends_in_a_server_error(case: schemathesis.Case):
    if "wait_s" in (case.query or {}):
        case.query["wait_s"] = 0.01
    answer = case.call(headers={"Accept": "application/json"})
    case.validate_response(
        answer,
        checks=[
            schemathesis.checks.not_a_server_error,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


def test_the_server_still_works_afterwards(attacked: World, tmp_path: Path):
    assert attacked.http.get("/api/v1/health/ready").status_code == 200
    assert attacked.http.post("/api/v1/query", json={"sql": "select 1"}).status_code in (200, 429)
    attacked.service.store.check()
