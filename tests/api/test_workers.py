from __future__ import annotations

from tests.api.support import OFFERED, WORKER, World, assert_problem


def test_a_worker_shows_what_it_offers_and_how_it_is(world: World):
    (worker,) = world.http.get("/api/v1/workers").json()["items"]
    assert worker == world.http.get(f"/api/v1/workers/{WORKER}").json()
    assert (worker["worker_id"], worker["hostname"], worker["status"]) == (WORKER, "here", "online")
    assert worker["allocatable"] == {
        "cpus": OFFERED.cpu_milli / 1000,
        "memory_bytes": OFFERED.memory_bytes,
        "disk_bytes": OFFERED.disk_bytes,
    }
    assert worker["allocated"] == {"cpus": 0, "memory_bytes": 0, "disk_bytes": 0}
    assert worker["running"] == []


def test_a_drained_worker_gets_nothing_until_it_is_resumed(world: World):
    drained = world.http.post(f"/api/v1/workers/{WORKER}/drain")
    assert (drained.status_code, drained.json()["status"]) == (200, "draining")
    with world.no_pass():
        job_id = world.submit()
        world.service._cycle.run_once()
        waiting = world.http.get(f"/api/v1/jobs/{job_id}").json()
    assert waiting["waiting"]["code"] == "no_worker"
    assert WORKER in waiting["waiting"]["sentence"]
    assert world.http.post(f"/api/v1/workers/{WORKER}/resume").json()["status"] == "online"
    assert world.finished(job_id)["job_status"] == "SUCCEEDED"


def test_the_worker_inside_the_server_cannot_be_stopped_alone(world: World):
    assert_problem(world.http.post(f"/api/v1/workers/{WORKER}/stop"), 409, "conflict")
    assert world.http.get(f"/api/v1/workers/{WORKER}").json()["status"] == "online"


def test_an_unknown_worker_is_not_found(shared: World):
    answer = shared.http.post("/api/v1/workers/nobody/drain")
    assert_problem(answer, 404, "not_found")
    assert WORKER in answer.json()["detail"]


def test_what_is_free_is_told_by_worker_and_in_all(world: World):
    free = world.http.get("/api/v1/capacity").json()
    (worker,) = free["workers"]
    assert worker == {"worker_id": WORKER, **free["total"]}
    assert free["total"]["available"] == free["total"]["allocatable"]
    assert free["total"]["available"]["cpus"] == OFFERED.cpu_milli / 1000
    assert free["source"] == "store"  # this service has no cache
