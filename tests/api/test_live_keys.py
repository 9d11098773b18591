"""What is told live ends when the key it was asked with is revoked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.support import World, assert_problem
from tests.api.test_logs import Running


@pytest.fixture
def running(world: World) -> Iterator[Running]:
    job = Running(world)
    job.print(b"so far\n")
    yield job
    job.end()


def key_of(world: World, owner: str, by: dict[str, str] | None = None) -> dict[str, str]:
    """Headers that show a new admin's key. The first one is made without a key, as long as the server has none."""
    made = world.http.post("/api/v1/keys", json={"owner": owner, "role": "admin"}, headers=by)
    return {"Authorization": f"Bearer {made.raise_for_status().json()['key']}"}


@pytest.mark.parametrize(
    ("path", "accept", "first"),
    [
        ("events", "text/event-stream", "event: accepted"),
        ("logs", "text/event-stream", "event: output"),
        ("logs?follow=true", "text/plain", "so far"),
    ],
)
def test_what_is_told_live_ends_when_its_key_is_revoked(
    world: World, running: Running, path: str, accept: str, first: str
):
    root = key_of(world, "root")
    eve = key_of(world, "eve", by=root)
    url = f"/api/v1/jobs/{running.job_id}/{path}"
    with world.http.stream("GET", url, headers={**eve, "Accept": accept}) as answer:
        lines = answer.iter_lines()
        assert first in next(lines)
        key_id = eve["Authorization"].split("_")[1]
        world.http.delete(f"/api/v1/keys/{key_id}", headers=root).raise_for_status()
        running.print(b"a secret\n")
        running.end()
        rest = "".join(lines)
    assert "secret" not in rest
    assert "succeeded" not in rest
    assert_problem(world.http.get(url, headers=eve), 401, "unauthenticated")
    assert world.http.get(f"/api/v1/jobs/{running.job_id}?wait_s=20", headers=root).json()["finished_at"]


def test_another_keys_end_does_not_end_what_is_told(world: World, running: Running):
    root = key_of(world, "root")
    eve = key_of(world, "eve", by=root)
    url = f"/api/v1/jobs/{running.job_id}/events"
    with world.http.stream("GET", url, headers={**root, "Accept": "text/event-stream"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        key_id = eve["Authorization"].split("_")[1]
        world.http.delete(f"/api/v1/keys/{key_id}", headers=root).raise_for_status()
        running.end()
        assert [line for line in lines if line.startswith("event:")] == ["event: started", "event: succeeded"]
