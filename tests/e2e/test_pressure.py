"""A live server goes through the levels as its sensors say, each rule takes effect, and all of it is over again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from tests.e2e.server import until
from tidegate.app.server import Server
from tidegate.settings import load_settings
from tidegate.testing.sensors import FakeSensor

SQL = "select count(*) as n from range({n}) a, range(100000) b where (a.range * b.range) % 7 = 3"
LONG = SQL.format(n=3_000_000)


class House:
    """A server in this process whose machine feels what the test says. Times of the rules are short, their order is not."""

    def __init__(self, data_dir: Path) -> None:
        self.sensor = FakeSensor(memory_used_percent=20)
        settings = load_settings(
            data_dir=data_dir,
            port=0,
            pressure="on",
            yield_cpu="off",
            memory="2GiB",
            headroom_memory="64MiB",
            cpus=2,
            max_losses=2,
            grace_s=0.0,
        )
        self.server = Server(settings, sensors=[self.sensor])
        config = uvicorn.Config(
            self.server.start(), host="127.0.0.1", port=0, log_config=None, lifespan="off"
        )
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, daemon=True)
        self.thread.start()
        until(lambda: self.uvicorn.started)
        port = self.uvicorn.servers[0].sockets[0].getsockname()[1]
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def close(self) -> None:
        self.http.close()
        self.uvicorn.should_exit = self.uvicorn.force_exit = True
        self.thread.join()
        self.server.stop()

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path, headers={"Accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def submit(self, sql: str = "select 42 as n", **fields: Any) -> httpx2.Response:
        return self.http.post("/api/v1/jobs", json={"kind": "sql", "sql": sql, **fields})

    def job(self, sql: str = "select 42 as n", **fields: Any) -> str:
        answer = self.submit(sql, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def feel(self, level: str, **readings: float) -> dict[str, Any]:
        """The pressure once it has this level, and the worker has told of it."""
        self.sensor.set(**readings)
        return patiently(lambda: self._at(level))

    def _at(self, level: str) -> dict[str, Any] | None:
        told = self.get("/api/v1/pressure")
        at = told["level"] == level and all(one["level"] == level for one in told["workers"])
        return told if at else None

    def reason(self, job_id: str) -> dict[str, Any]:
        waiting = patiently(lambda: self.get(f"/api/v1/jobs/{job_id}")["waiting"])
        return dict(waiting)


def patiently(look: Callable[[], Any]) -> Any:
    """What `look` sees once that is true: a level takes up to 45 s to be left."""
    deadline, pause = time.monotonic() + 90, threading.Event()
    while not (seen := look()):
        assert time.monotonic() < deadline
        pause.wait(0.1)
    return seen


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "data")
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_server_goes_through_the_levels_and_back(house: House) -> None:
    # normal: everything goes.
    told = house.feel("normal", memory_used_percent=20)
    assert told["allowed"]["start"] == "sheddable"
    running = house.job(LONG, memory="512MiB", priority="low", cpus=0.1)
    patiently(lambda: house.get(f"/api/v1/jobs/{running}")["job_status"] == "RUNNING")
    source = house.http.put("/api/v1/files/t.csv", content=b"a,b\n1,2\n3,4\n")
    assert source.status_code == 201, source.text
    export = "/api/v1/sources/t/download?format=jsonl"
    assert house.http.get(export).status_code == 200

    # warn: what is sheddable is refused by the share, and is not started; the rest at a pace; short pages.
    told = house.feel("warn", memory_used_percent=89.99)
    assert told["since"] is not None
    (memory,) = (each for each in told["signals"] if each["signal"] == "memory")
    assert (memory["level"], memory["readings"]["memory_used_percent"]) == ("warn", 89.99)
    assert told["refused_share"] == pytest.approx(0.999)
    refused = patiently(lambda: (answer := house.submit(priority="low")).status_code == 429 and answer)
    problem = refused.json()
    assert problem["code"] == "pressure", problem
    assert "under pressure (warn), and this job is sheddable: 100 % of it is refused" in problem["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert house.get(f"/api/v1/jobs/{house.job()}?wait_s=25")["job_status"] == "SUCCEEDED"
    assert house.http.get(export).status_code == 200
    for number in range(51):
        assert house.http.put(f"/api/v1/queues/q{number}", json={"weight": 1}).status_code == 200
    assert len(house.get("/api/v1/queues?limit=100")["items"]) == 50

    # critical: only critical plus is started, whoever waits is told why, with the numbers; no exports of sources.
    told = house.feel("critical", memory_used_percent=92.5)
    assert house.submit(priority="low").status_code == 429
    waits = house.job()
    urgent = house.get(f"/api/v1/jobs/{house.job(priority='high')}?wait_s=25")
    assert urgent["job_status"] == "SUCCEEDED"
    reason = patiently(lambda: (why := house.reason(waits))["code"] == "pressure" and why)
    assert "critical: memory_used_percent 92.5" in reason["sentence"]
    assert house.get(f"/api/v1/jobs/{waits}")["job_status"] in ("ACCEPTED", "QUEUED")
    blocked = house.http.get(export)
    assert (blocked.status_code, blocked.json()["code"]) == (429, "pressure")
    result = house.http.get(f"/api/v1/jobs/{urgent['job_id']}/result?format=jsonl")
    assert result.status_code == 200, result.text  # what a job has come to is kept from nobody

    # emergency: the one that is over its class's patience is ended with its numbers; control goes on.
    assert house.get(f"/api/v1/jobs/{running}")["job_status"] == "RUNNING"
    house.feel("emergency", memory_used_percent=97)
    ended = patiently(
        lambda: [e for e in house.get(f"/api/v1/jobs/{running}/events")["items"] if e["type"] == "retrying"]
    )[0]
    assert ended["data"]["reason"] == "evicted"
    assert ended["data"]["limit"] == 512 << 20
    assert ended["data"]["observed"] >= 0
    assert house.submit().status_code == 429
    assert house.get("/health")["status"]
    assert house.http.post(f"/api/v1/jobs/{running}/cancel").status_code in (200, 202)

    # and back: what waited runs, everything is allowed again.
    house.feel("normal", memory_used_percent=20)
    assert house.get(f"/api/v1/jobs/{waits}?wait_s=25")["job_status"] == "SUCCEEDED"
    assert house.submit(priority="low").status_code == 202
    assert house.http.get(export).status_code == 200
    assert len(house.get("/api/v1/queues?limit=100")["items"]) > 50

    # All of it is in the trail, with numbers, and in the history.
    def trail() -> list[dict[str, Any]]:
        rows = house.get("/api/v1/audit?action=pressure.act&limit=100")["items"]
        return rows if len(rows) >= 5 else []

    rows = list(reversed(patiently(trail)))
    assert [row["outcome"] for row in rows if row["detail"]["act"] == "level"][:3] == [
        "warn",
        "critical",
        "emergency",
    ]
    (evicted,) = (row for row in rows if row["detail"]["act"] == "evict")
    assert (evicted["object"], evicted["detail"]["memory_used_percent"]) == (f"job {running}", 97.0)
    history = patiently(lambda: house.get("/api/v1/pressure/history")["items"])
    assert {sample["place"].split(":")[0] for sample in history} <= {"server", "worker"}


@pytest.mark.timeout(120)
def test_an_operator_changes_the_rules_and_they_hold_at_once(house: House) -> None:
    house.feel("normal", disk_free_percent=18.0 + 10)
    rules = house.get("/api/v1/pressure/rules")
    assert (rules["changes"], rules["levels"]["warn"]["starts_per_s"]) == ({}, 1.0)
    changes = {
        "signals": {"disk": {"warn": [{"thresholds": {"disk_free_percent": {"bound": 40}}}]}},
        "levels": {"warn": {"exports": False}},
    }
    answer = house.http.put("/api/v1/pressure/rules", json=changes)
    assert (answer.status_code, answer.json()["changes"]) == (200, changes)
    told = house.feel("warn", disk_free_percent=28)
    assert told["allowed"]["exports"] is False
    wrong = house.http.put("/api/v1/pressure/rules", json={"levels": {"warn": {"start": "all"}}})
    assert (wrong.status_code, "levels.warn.start" in wrong.json()["detail"]) == (422, True)
    assert house.http.put("/api/v1/pressure/rules", json={}).json()["changes"] == {}
    (row,) = house.get("/api/v1/audit?action=pressure.rules&limit=1")["items"]
    assert row["object"] == "pressure rules"
