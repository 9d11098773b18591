"""Made-up requests after the OpenAPI description: none may end in a server error, all answers as described."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.api.support import World, world_in
from tidegate.core.identity import Role
from tidegate.core.resources import Resources
from tidegate.ports import WorkerInfo
from tidegate.server.doorkeeper import new_key

EXAMPLES = 25
CHECKS = [schemathesis.checks.not_a_server_error, content_type_conformance, response_schema_conformance]
KEYS: dict[str, str] = {}
"""The attacker is an admin, so that no request ends at the door; another's key is there to be revoked."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("attacked"), query_timeout_s=2.0) as world:
        store, now = world.service.store, world.service.clock.now()
        for owner, role in (("ann", Role.ADMIN), ("eve", Role.VIEWER)):
            key, record = new_key(owner, role, by="test", now=now)
            store.add_key(record)
            KEYS[owner] = key
        world.http.headers["Authorization"] = f"Bearer {KEYS['ann']}"
        store.register(WorkerInfo("spare", "there", Resources(), Resources()), now, 3600.0)
        world.http.put("/api/v1/files/trips.csv", content=b"a\n1\n")
        world.finished(world.submit(result_name="made"))
        yield world


def test_no_request_ends_in_a_server_error(attacked: World):
    job_id = attacked.submit(result_name="more")
    turn = itertools.count()
    described = schemathesis.openapi.from_url(
        f"{attacked.url}/openapi.json", headers=dict(attacked.http.headers)
    )
    operations = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 20
    for operation, mode in itertools.product(operations, schemathesis.GenerationMode):

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def attack(case: Any) -> None:
            if "wait_s" in (case.query or {}):
                case.query["wait_s"] = 0.01
            if next(turn) % 2 and case.method != "DELETE":
                case.path_parameters = {
                    name: _existing(case, name, job_id) for name in case.path_parameters or ()
                }
            headers = {"Accept": "application/json", "Authorization": f"Bearer {KEYS['ann']}"}
            answer = case.call(headers=headers, timeout=20)
            assert answer.status_code != 401
            case.validate_response(answer, checks=CHECKS)
            if case.path.endswith("/safe-mode/enter") and answer.status_code == 200:
                attacked.http.post("/api/v1/safe-mode/leave").raise_for_status()

        # A route without parameters cannot be asked wrongly.
        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            attack()


def _existing(case: schemathesis.Case, parameter: str, job_id: str) -> str:
    """A path parameter that leads somewhere: half of the requests shall come past "not found"."""
    if parameter == "name":
        return "default" if "queues" in case.path else "made"
    known = {"job_id": job_id, "worker_id": "spare", "key_id": KEYS["eve"].split("_")[1]}
    return known.get(parameter, f"{job_id}.1")


def test_the_server_still_works_afterwards(attacked: World, tmp_path: Path):
    assert attacked.http.get("/api/v1/health/ready").status_code == 200
    assert attacked.http.post("/api/v1/query", json={"sql": "select 1"}).status_code in (200, 429)
    attacked.service.store.check()
