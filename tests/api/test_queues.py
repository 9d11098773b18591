from __future__ import annotations

from typing import Any

import pytest

from tests.api.support import World, assert_problem


def test_a_queue_is_made_changed_and_listed(world: World):
    made = world.http.put("/api/v1/queues/etl", json={"max_concurrent": 2, "weight": 5})
    assert made.status_code == 200, made.text
    assert (made.json()["max_concurrent"], made.json()["weight"], made.json()["paused"]) == (2, 5, False)
    changed = world.http.patch("/api/v1/queues/etl", json={"weight": 7}).json()
    assert (changed["max_concurrent"], changed["weight"]) == (2, 7)
    assert (
        world.http.patch("/api/v1/queues/etl", json={"max_concurrent": None}).json()["max_concurrent"] is None
    )
    assert world.http.get("/api/v1/queues/etl").json()["weight"] == 7
    assert "etl" in [queue["name"] for queue in world.http.get("/api/v1/queues").json()["items"]]


def test_a_paused_queue_holds_its_jobs_until_it_is_resumed(world: World):
    world.http.put("/api/v1/queues/etl", json={})
    assert world.http.post("/api/v1/queues/etl/pause").json()["paused"] is True
    job_id = world.submit(queue="etl")
    assert world.http.get("/api/v1/queues/etl").json()["waiting"] == 1
    assert world.http.post("/api/v1/queues/etl/resume").json()["paused"] is False
    assert world.finished(job_id)["job_status"] == "SUCCEEDED"


def test_queues_page_in_order_of_name(world: World):
    for name in ("c", "a", "b"):
        world.http.put(f"/api/v1/queues/{name}", json={})
    names: list[str] = []
    params: dict[str, Any] = {"limit": 1}
    while True:
        body = world.http.get("/api/v1/queues", params=params).json()
        names += [queue["name"] for queue in body["items"]]
        if body["next_cursor"] is None:
            break
        params["cursor"] = body["next_cursor"]
    assert names == sorted(names)
    assert {"a", "b", "c"} <= set(names)


@pytest.mark.parametrize("method", ["get", "post", "patch"])
def test_an_unknown_queue_is_not_found(shared: World, method: str):
    if method == "get":
        answers = [shared.http.get("/api/v1/queues/nothing")]
    elif method == "patch":
        answers = [shared.http.patch("/api/v1/queues/nothing", json={})]
    else:
        answers = [shared.http.post(f"/api/v1/queues/nothing/{verb}") for verb in ("pause", "resume")]
    for answer in answers:
        assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 2**70}, "max_concurrent"),
        ({"max_concurrent": 1.5}, "max_concurrent"),
        ({"weight": -1}, "weight"),
        ({"weight": "3"}, "weight"),
        ({"paused": "yes"}, "paused"),
        ({"wieght": 3}, "wieght"),
    ],
)
def test_a_bad_change_names_the_field(shared: World, change: dict[str, Any], field: str):
    answer = shared.http.put("/api/v1/queues/bad", json=change)
    assert assert_problem(answer, 422, "invalid_input")["field"] == field
    assert_problem(shared.http.get("/api/v1/queues/bad"), 404, "not_found")


@pytest.mark.parametrize("name", ["a%20b", "-a", "x" * 64, "%00", "ä"])
def test_a_queue_cannot_have_any_name(shared: World, name: str):
    assert_problem(shared.http.put(f"/api/v1/queues/{name}", json={}), 422, "invalid_input")
