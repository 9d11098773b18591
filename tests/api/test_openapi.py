"""What stands in OpenAPI and in docs/api.md is what the application does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import World, assert_problem
from tidegate.api.problems import TITLES

CANNOT_FAIL = re.compile(
    "^/metrics$|health|whoami|capacity|monitoring/(workers|queues|gates|system)$|/api/system/|/pressure(/rules)?$|safe-mode(/enter)?$"
)
"""Asked without parameters, or without a body that must be there, and tested elsewhere."""
DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def operations(world: World) -> set[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = world.http.get("/openapi.json").json()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_every_route_is_documented_and_every_documented_route_exists(shared: World):
    documented = set(re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/[^`]*)` \|", DOCS, re.MULTILINE))
    assert documented == operations(shared)


def test_every_error_code_is_documented_with_its_status():
    documented = {
        code: int(status) for code, status in re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", DOCS, re.MULTILINE)
    }
    assert documented == {code: status for code, (status, _) in TITLES.items()}


def test_every_operation_has_a_summary_a_tag_and_problem_answers(shared: World):
    described = shared.http.get("/openapi.json").json()
    assert (described["info"]["title"], described["openapi"][:2]) == ("Tidegate", "3.")
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["tags"], (method, path)
            if "health" not in path:
                problem = operation["responses"]["422"]["content"]["application/problem+json"]["schema"]
                assert problem == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_in_the_description_leads_somewhere(shared: World):
    described = shared.http.get("/openapi.json")
    schemas = described.json()["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', described.text))
    assert used <= set(schemas)
    assert "HTTPValidationError" not in schemas


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/jobs?limit=0", 422, "invalid_input"),
        ("POST", "/api/v1/jobs", 400, "malformed"),
        ("POST", "/api/v1/jobs/bulk", 400, "malformed"),
        ("GET", "/api/v1/jobs/{job_id}", 404, "not_found"),
        ("POST", "/api/v1/jobs/{job_id}/cancel", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/tasks", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/events", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/logs", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/report", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/result", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/files", 404, "not_found"),
        ("GET", "/api/v1/jobs/{job_id}/files/{name}", 404, "not_found"),
        ("GET", "/api/v1/tasks/{task_id}", 404, "not_found"),
        ("GET", "/api/v1/sources?cursor=x", 422, "bad_cursor"),
        ("POST", "/api/v1/sources", 422, "invalid_input"),
        ("GET", "/api/v1/sources/{name}", 404, "unknown_source"),
        ("DELETE", "/api/v1/sources/{name}", 404, "unknown_source"),
        ("GET", "/api/v1/sources/{name}/preview", 404, "unknown_source"),
        ("GET", "/api/v1/sources/{name}/download", 404, "unknown_source"),
        ("PUT", "/api/v1/files/{name}?source_name=select", 422, "invalid_input"),
        ("GET", "/api/v1/queues?limit=x", 422, "invalid_input"),
        ("GET", "/api/v1/queues/{name}", 404, "not_found"),
        ("PUT", "/api/v1/queues/{name}", 422, "invalid_input"),
        ("PATCH", "/api/v1/queues/{name}", 404, "not_found"),
        ("POST", "/api/v1/queues/{name}/pause", 404, "not_found"),
        ("POST", "/api/v1/queues/{name}/resume", 404, "not_found"),
        ("DELETE", "/api/v1/capacity", 405, "method_not_allowed"),
        ("GET", "/api/v1/workers?limit=x", 422, "invalid_input"),
        ("GET", "/api/v1/workers/{worker_id}", 404, "not_found"),
        ("POST", "/api/v1/workers/{worker_id}/drain", 404, "not_found"),
        ("POST", "/api/v1/workers/{worker_id}/resume", 404, "not_found"),
        ("POST", "/api/v1/workers/{worker_id}/stop", 404, "not_found"),
        ("POST", "/api/v1/safe-mode/leave", 409, "conflict"),
        ("GET", "/api/v1/quarantine?cursor=x", 422, "bad_cursor"),
        ("GET", "/api/v1/quarantine/{task_id}", 404, "not_found"),
        ("POST", "/api/v1/quarantine/{task_id}/release", 404, "not_found"),
        ("POST", "/api/v1/query", 422, "invalid_input"),
        ("POST", "/api/v1/ingest/preview", 422, "invalid_input"),
        ("GET", "/api/v1/monitoring/workers/{worker_id}", 404, "not_found"),
        ("POST", "/api/v1/monitoring/workers/{worker_id}/control?action=dance", 400, "unknown_action"),
        ("GET", "/api/v1/alerts?level=awful", 422, "invalid_input"),
        ("GET", "/api/v1/alerts/rules?cursor=x", 422, "bad_cursor"),
        ("PATCH", "/api/v1/alerts/rules/{name}", 404, "not_found"),
        ("DELETE", "/api/v1/alerts/rules/{name}", 404, "not_found"),
        ("GET", "/api/v1/alerts/silences?cursor=x", 422, "bad_cursor"),
        ("POST", "/api/v1/alerts/silences", 422, "invalid_input"),
        ("DELETE", "/api/v1/alerts/silences/{silence_id}", 404, "not_found"),
        ("GET", "/api/v1/alerts/channels?limit=0", 422, "invalid_input"),
        ("POST", "/api/v1/alerts/channels/{name}/test", 404, "not_found"),
        ("GET", "/api/v1/alerts/{alert_id}", 404, "not_found"),
        ("POST", "/api/v1/alerts/{alert_id}/acknowledge", 404, "not_found"),
        ("GET", "/api/v1/keys?cursor=x", 422, "bad_cursor"),
        ("POST", "/api/v1/keys", 422, "invalid_input"),
        ("DELETE", "/api/v1/keys/{key_id}", 404, "not_found"),
        ("GET", "/api/v1/audit?action=x", 422, "invalid_input"),
        ("GET", "/api/v1/usage?by=age", 422, "invalid_input"),
        ("GET", "/api/v1/usage/resources?step=1", 422, "invalid_input"),
        ("POST", "/statistics", 422, "invalid_input"),
        ("GET", "/statistics/summary?from=x", 422, "invalid_input"),
        ("DELETE", "/api/v1/pressure", 405, "method_not_allowed"),
        ("GET", "/api/v1/pressure/history?minutes=0", 422, "invalid_input"),
        ("PUT", "/api/v1/pressure/rules", 400, "malformed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/health", 405, "method_not_allowed"),
        ("POST", "/api/v1/health/ready", 405, "method_not_allowed"),
    ],
)
def test_every_route_answers_errors_in_the_one_shape(
    shared: World, method: str, path: str, status: int, code: str
):
    filled = path.replace("{job_id}", "77777").replace("{task_id}", "77777.1").replace("{name}", "-none")
    filled = filled.replace("{key_id}", "0000000000").replace("{alert_id}", "77").replace("{silence_id}", "x")
    assert_problem(shared.http.request(method, filled), status, code)


def test_the_list_of_routes_above_is_whole(shared: World):
    marks = test_every_route_answers_errors_in_the_one_shape.pytestmark
    tried = {(case[0], case[1].partition("?")[0]) for case in marks[0].args[1]}
    assert {route for route in tried if not CANNOT_FAIL.search(route[1])} == {
        route for route in operations(shared) if not CANNOT_FAIL.search(route[1])
    }
