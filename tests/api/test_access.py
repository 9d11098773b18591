"""Every route × role × owner, from the application's own routes: none is missing, and none says more than it may."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.support import Played, World, assert_problem, service_in, world_in
from tidegate.api import create_app
from tidegate.api.access import ACCESS, GuardedRoute, guarded_router, include
from tidegate.api.application import SUBJECTS
from tidegate.core.identity import Role
from tidegate.core.resources import Resources
from tidegate.core.source import Source, SourceColumn
from tidegate.errors import BrokenInvariant
from tidegate.ports import AuditFilter, WorkerInfo
from tidegate.server.doorkeeper import new_key

ROUTES = sorted(
    (method, route.path)
    for subject in SUBJECTS
    for route in subject.router.routes
    if isinstance(route, GuardedRoute)
    for method in route.methods or ()
)
NONE = Resources()
LIVENESS = {"/health", "/api/v1/health"}

Ask = Callable[["House"], dict[str, Any]]


@dataclass
class House:
    """A server with keys, and what is ann's: a job that has ended, a private and a shared source."""

    world: World
    keys: dict[str, str]
    public: Path
    job_id: str = ""
    files_id: str = ""
    """A job of ann's that has left a file."""
    turn: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, key: str | None, method: str, url: str, **options: Any) -> httpx2.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return self.world.http.request(
            method, url, headers={**headers, **options.pop("headers", {})}, **options
        )

    def as_(self, who: str, method: str, url: str, **options: Any) -> httpx2.Response:
        return self.ask(self.keys[who], method, url, **options)

    def add_source(self, name: str, owner: str = "ann", *, shared: bool = False) -> str:
        path = self.world.data_dir / "results" / f"{owner}-{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"PAR1 of ann")
        source = Source(
            name, "parquet", str(path), owner, self.world.service.clock.now(), (SourceColumn("a", "INTEGER"),),
            managed=True, shared=shared,
        )  # fmt: skip
        self.world.service.store.add_source(source)
        return name

    def add_key(self, owner: str, role: Role, **options: Any) -> str:
        now = self.world.service.clock.now()
        key, record = new_key(owner, role, by="test", now=now, **options)
        self.world.service.store.add_key(record)
        return key


CALLERS: dict[str, tuple[str, Role]] = {
    f"{owner} as {role.value}": (owner, role) for owner in ("ann", "bob") for role in Role
}


@contextlib.contextmanager
def house_in(folder: Path, **settings: Any) -> Iterator[House]:
    public = folder.parent / f"{folder.name}-public"
    public.mkdir()
    (public / "a.csv").write_text("a\n1\n")
    with world_in(folder, source_roots=[public], **settings) as world:
        house = House(world, {}, public / "a.csv")
        for name, (owner, role) in CALLERS.items():
            house.keys[name] = house.add_key(owner, role)
        answer = house.as_(
            "ann as user",
            "POST",
            "/api/v1/jobs",
            json={"kind": "sql", "sql": "select 1", "result_name": "made"},
        )
        house.job_id = answer.json()["job_id"]
        house.as_("ann as user", "GET", f"/api/v1/jobs/{house.job_id}?wait_s=20")
        left = folder / "results" / "left"
        left.mkdir()
        (left / "out.txt").write_text("42")
        as_before = world.plays[-1]
        world.play(lambda assignment: Played({"file_count": 1, "path": str(left)}))
        answer = house.as_("ann as user", "POST", "/api/v1/jobs", json=SQL)
        house.files_id = answer.json()["job_id"]
        house.as_("ann as user", "GET", f"/api/v1/jobs/{house.files_id}?wait_s=20")
        world.play(as_before)
        house.add_source("private")
        world.service.store.set_queue("etl")
        world.raise_alert()
        world.service.store.register(
            WorkerInfo("spare", "there", NONE, NONE), world.service.clock.now(), 3600.0
        )
        log = world.data_dir / "logs" / house.job_id / "1.1.log"
        log.parent.mkdir(parents=True)
        log.write_text("what ann printed\n")
        yield house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_in(tmp_path_factory.mktemp("house")) as made:
        yield made


def job_path(rest: str) -> Ask:
    return lambda house: {"url": f"/api/v1/jobs/{house.job_id}{rest}"}


def fixed(url: str, **options: Any) -> Ask:
    return lambda house: {"url": url, **options}


def registration(house: House) -> dict[str, Any]:
    """A file that everybody may register: it lies in a source root."""
    return {
        "url": "/api/v1/sources",
        "json": {"name": f"new_{next(house.turn)}", "path": str(house.public)},
    }


def deletion(house: House) -> dict[str, Any]:
    return {"url": f"/api/v1/sources/{house.add_source(f'old_{next(house.turn)}')}"}


def revocation(house: House) -> dict[str, Any]:
    key = house.add_key("eve", Role.VIEWER)
    return {"url": f"/api/v1/keys/{key.split('_')[1]}"}


def end_of_silence(house: House) -> dict[str, Any]:
    answer = house.as_("bob as operator", "POST", "/api/v1/alerts/silences", json={"minutes": 1})
    return {"url": f"/api/v1/alerts/silences/{answer.json()['silence_id']}"}


SQL = {"kind": "sql", "sql": "select 1"}
ASKS: dict[tuple[str, str], Ask] = {
    ("GET", "/health"): fixed("/health"),
    ("GET", "/api/v1/health"): fixed("/api/v1/health"),
    ("GET", "/api/v1/health/ready"): fixed("/api/v1/health/ready"),
    ("GET", "/"): fixed("/"),
    ("GET", "/openapi.json"): fixed("/openapi.json"),
    ("POST", "/api/v1/jobs"): fixed("/api/v1/jobs", json=SQL),
    ("GET", "/api/v1/jobs"): fixed("/api/v1/jobs"),
    ("POST", "/api/v1/jobs/bulk"): fixed("/api/v1/jobs/bulk", json={"jobs": [SQL]}),
    ("GET", "/api/v1/jobs/{job_id}"): job_path(""),
    ("POST", "/api/v1/jobs/{job_id}/cancel"): job_path("/cancel"),
    ("GET", "/api/v1/jobs/{job_id}/tasks"): job_path("/tasks"),
    ("GET", "/api/v1/tasks/{task_id}"): lambda house: {"url": f"/api/v1/tasks/{house.job_id}.1"},
    ("GET", "/api/v1/jobs/{job_id}/events"): job_path("/events"),
    ("GET", "/api/v1/jobs/{job_id}/result"): job_path("/result?limit=1"),
    ("GET", "/api/v1/jobs/{job_id}/logs"): job_path("/logs"),
    ("GET", "/api/v1/jobs/{job_id}/report"): job_path("/report"),
    ("GET", "/api/v1/jobs/{job_id}/files"): lambda house: {"url": f"/api/v1/jobs/{house.files_id}/files"},
    ("GET", "/api/v1/jobs/{job_id}/files/{name:path}"): lambda house: {
        "url": f"/api/v1/jobs/{house.files_id}/files/out.txt"
    },
    ("GET", "/api/v1/sources"): fixed("/api/v1/sources"),
    ("POST", "/api/v1/sources"): registration,
    ("GET", "/api/v1/sources/{name}"): fixed("/api/v1/sources/private"),
    ("DELETE", "/api/v1/sources/{name}"): deletion,
    ("GET", "/api/v1/sources/{name}/preview"): fixed("/api/v1/sources/private/preview"),
    ("GET", "/api/v1/sources/{name}/download"): fixed("/api/v1/sources/private/download"),
    ("PUT", "/api/v1/files/{name:path}"): lambda house: {
        "url": f"/api/v1/files/up_{next(house.turn)}.csv",
        "content": b"a\n1\n",
    },
    ("GET", "/api/v1/queues"): fixed("/api/v1/queues"),
    ("GET", "/api/v1/queues/{name}"): fixed("/api/v1/queues/default"),
    ("PUT", "/api/v1/queues/{name}"): fixed("/api/v1/queues/etl", json={"weight": 2}),
    ("PATCH", "/api/v1/queues/{name}"): fixed("/api/v1/queues/default", json={"weight": 2}),
    ("POST", "/api/v1/queues/{name}/pause"): fixed("/api/v1/queues/etl/pause"),
    ("POST", "/api/v1/queues/{name}/resume"): fixed("/api/v1/queues/etl/resume"),
    ("POST", "/api/v1/query"): fixed("/api/v1/query", json={"sql": "select 1"}),
    ("POST", "/api/v1/ingest/preview"): fixed("/api/v1/ingest/preview", json={"file": "/nowhere/t.csv"}),
    ("GET", "/api/v1/capacity"): fixed("/api/v1/capacity"),
    ("GET", "/api/v1/workers"): fixed("/api/v1/workers"),
    ("GET", "/api/v1/workers/{worker_id}"): fixed("/api/v1/workers/local"),
    ("POST", "/api/v1/workers/{worker_id}/drain"): fixed("/api/v1/workers/spare/drain"),
    ("POST", "/api/v1/workers/{worker_id}/resume"): fixed("/api/v1/workers/spare/resume"),
    ("POST", "/api/v1/workers/{worker_id}/stop"): fixed("/api/v1/workers/spare/stop"),
    ("GET", "/api/v1/health/workers"): fixed("/api/v1/health/workers"),
    ("GET", "/api/v1/monitoring/workers"): fixed("/api/v1/monitoring/workers"),
    ("GET", "/api/v1/monitoring/workers/{worker_id}"): fixed("/api/v1/monitoring/workers/local"),
    ("POST", "/api/v1/monitoring/workers/{worker_id}/control"): fixed(
        "/api/v1/monitoring/workers/spare/control?action=reset_stats"
    ),
    ("GET", "/api/v1/monitoring/queues"): fixed("/api/v1/monitoring/queues"),
    ("GET", "/api/v1/monitoring/gates"): fixed("/api/v1/monitoring/gates"),
    ("GET", "/api/v1/monitoring/system"): fixed("/api/v1/monitoring/system"),
    ("GET", "/metrics"): fixed("/metrics"),
    ("GET", "/api/system/resource-usage"): fixed("/api/system/resource-usage"),
    ("GET", "/api/system/executor-stats"): fixed("/api/system/executor-stats"),
    ("GET", "/api/system/db-pool-stats"): fixed("/api/system/db-pool-stats"),
    ("GET", "/api/v1/alerts"): fixed("/api/v1/alerts"),
    ("GET", "/api/v1/alerts/rules"): fixed("/api/v1/alerts/rules"),
    ("PATCH", "/api/v1/alerts/rules/{name}"): fixed("/api/v1/alerts/rules/cpu", json={"hold_s": 60}),
    ("DELETE", "/api/v1/alerts/rules/{name}"): fixed("/api/v1/alerts/rules/cpu"),
    ("GET", "/api/v1/alerts/silences"): fixed("/api/v1/alerts/silences"),
    ("POST", "/api/v1/alerts/silences"): fixed("/api/v1/alerts/silences", json={"rule": "cpu", "minutes": 1}),
    ("DELETE", "/api/v1/alerts/silences/{silence_id}"): end_of_silence,
    ("GET", "/api/v1/alerts/channels"): fixed("/api/v1/alerts/channels"),
    ("POST", "/api/v1/alerts/channels/{name}/test"): fixed("/api/v1/alerts/channels/none/test"),
    ("GET", "/api/v1/alerts/{alert_id}"): fixed("/api/v1/alerts/1"),
    ("POST", "/api/v1/alerts/{alert_id}/acknowledge"): fixed("/api/v1/alerts/1/acknowledge"),
    ("GET", "/api/v1/whoami"): fixed("/api/v1/whoami"),
    ("GET", "/api/v1/keys"): fixed("/api/v1/keys"),
    ("POST", "/api/v1/keys"): fixed("/api/v1/keys", json={"owner": "eve", "role": "viewer"}),
    ("DELETE", "/api/v1/keys/{key_id}"): revocation,
    ("GET", "/api/v1/audit"): fixed("/api/v1/audit"),
    ("GET", "/api/v1/usage"): fixed("/api/v1/usage"),
    ("GET", "/api/v1/usage/resources"): fixed("/api/v1/usage/resources"),
    ("POST", "/statistics"): fixed(
        "/statistics",
        json={
            "installation": "lab",
            "version": "1",
            "from": "2026-01-01",
            "to": "2026-01-02",
            "usage": {"jobs": 1},
        },
    ),
    ("GET", "/statistics/summary"): fixed("/statistics/summary"),
    ("GET", "/api/v1/pressure"): fixed("/api/v1/pressure"),
    ("GET", "/api/v1/pressure/history"): fixed("/api/v1/pressure/history?minutes=5"),
    ("GET", "/api/v1/pressure/rules"): fixed("/api/v1/pressure/rules"),
    ("PUT", "/api/v1/pressure/rules"): fixed(
        "/api/v1/pressure/rules", json={"levels": {"warn": {"most_page": 20}}}
    ),
    ("GET", "/api/v1/safe-mode"): fixed("/api/v1/safe-mode"),
    ("POST", "/api/v1/safe-mode/enter"): fixed("/api/v1/safe-mode/enter", json={"reason": 1}),
    ("POST", "/api/v1/safe-mode/leave"): fixed("/api/v1/safe-mode/leave"),
    ("GET", "/api/v1/quarantine"): fixed("/api/v1/quarantine"),
    ("GET", "/api/v1/quarantine/{task_id}"): fixed("/api/v1/quarantine/999.1"),
    ("POST", "/api/v1/quarantine/{task_id}/release"): fixed("/api/v1/quarantine/999.1/release"),
}
OWN = {
    route
    for route in ASKS
    if ("{job_id}" in route[1] or "{task_id}" in route[1]) and "quarantine" not in route[1]
} | {route for route in ASKS if route[1].startswith("/api/v1/sources/")}
"""Routes whose requests here are about what is ann's."""


ALLOWED = {
    ("POST", "/api/v1/workers/{worker_id}/stop"): 409,
    ("POST", "/api/v1/monitoring/workers/{worker_id}/control"): 409,
    ("POST", "/api/v1/ingest/preview"): 422,
    ("GET", "/api/v1/jobs/{job_id}/report"): 404,
    ("POST", "/api/v1/alerts/channels/{name}/test"): 404,
    ("POST", "/api/v1/safe-mode/enter"): 422,
    ("POST", "/api/v1/safe-mode/leave"): 409,
    ("GET", "/api/v1/quarantine/{task_id}"): 404,
    ("POST", "/api/v1/quarantine/{task_id}/release"): 404,
}
"""What they answer who may, where it is no success: this server has no worker that could be told, and the file is none that
may be read, and the job is no lint job, and there is no channel; safe mode is not entered, since others ask the same server,
and nothing is in quarantine."""


def test_every_route_has_its_request_and_its_least_role():
    assert set(ROUTES) == set(ASKS) == set(ACCESS)


def test_the_application_has_no_other_routes(house: House):
    included = house.world.service  # the application is made of SUBJECTS alone, each by `include`
    app = create_app(included)
    assert len(app.router.routes) == len(SUBJECTS)
    for subject in SUBJECTS:
        assert all(isinstance(route, GuardedRoute) for route in subject.router.routes)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=str)
def test_roles_and_owners(house: House, method: str, path: str):
    least = ACCESS[method, path]
    for name, (owner, role) in CALLERS.items():
        answer = house.as_(name, method, **ASKS[method, path](house))
        if least is not None and not role.may(least):
            expected = 403
        elif (method, path) in OWN and owner != "ann" and not role.may(Role.OPERATOR):
            expected = 404
        else:
            expected = 200
        what = (name, method, path, answer.status_code, answer.text[:300])
        if expected == 200:
            wanted = ALLOWED.get((method, path), answer.status_code if answer.status_code < 300 else 200)
            assert answer.status_code == wanted, what
        else:
            assert answer.status_code == expected, what
            assert_problem(answer, expected, answer.json()["code"])


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=str)
def test_strangers(house: House, method: str, path: str):
    store, now = house.world.service.store, house.world.service.clock.now()
    revoked = house.add_key("ann", Role.ADMIN)
    store.revoke_key(revoked.split("_")[1], now)
    expired = house.add_key("ann", Role.ADMIN, life_days=1e-9)
    wrong = house.keys["ann as admin"][:-1] + "~"
    changed = house.keys["ann as admin"][:-2] + "AA"
    for key in (revoked, expired, wrong, changed, "none", "tg_", "x" * 5000):
        answer = house.ask(key, method, **ASKS[method, path](house))
        if path in LIVENESS:
            assert answer.status_code == 200
        else:
            assert answer.status_code in (401, 429), (key, answer.text)
            assert answer.json()["code"] in ("unauthenticated", "too_many_failures")
            assert key not in answer.text.replace("tg_...", "") or key == "none"
    answer = house.ask(None, method, **ASKS[method, path](house))
    if ACCESS[method, path] is None:
        assert answer.status_code == 200
    else:
        problem = assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "TIDEGATE_API_KEY" in problem["detail"]


def test_what_is_anothers_is_told_apart_from_nothing_by_nobody(house: House):
    """The answers about ann's things and about nothing at all differ in the name alone."""
    for path, there, nothing in (
        ("/api/v1/jobs/{}", house.job_id, "987654"),
        ("/api/v1/jobs/{}?other=1", house.job_id, "987654"),  # by the router, not by the entrance
        ("/api/v1/jobs/{}?wait_s=0", house.job_id, "987654"),
        ("/api/v1/jobs/{}/files", house.files_id, "987654"),
        ("/api/v1/jobs/{}/events", house.job_id, "987654"),
        ("/api/v1/jobs/{}/logs", house.job_id, "987654"),
        ("/api/v1/tasks/{}.1", house.job_id, "987654"),
        ("/api/v1/sources/{}", "private", "nothing"),
        ("/api/v1/sources/{}?owner=ann", "private", "nothing"),
        ("/api/v1/sources/{}/download", "private", "nothing"),
    ):
        texts = [
            json.dumps(house.as_("bob as user", "GET", path.format(name)).json()).replace(name, "*")
            for name in (there, nothing)
        ]
        assert texts[0] == texts[1]
        assert "ann" not in texts[0].replace("owner=ann", "").replace("Owner 'ann'", "")


def test_lists_show_what_is_ones_own(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        house.add_source("common", shared=True)
        house.add_source("his", owner="bob")

        def listed(who: str, what: str) -> set[str]:
            items = house.as_(who, "GET", f"/api/v1/{what}").json()["items"]
            return {item["name" if what.startswith("sources") else "job_id"] for item in items}

        assert listed("ann as viewer", "jobs") == {house.job_id, house.files_id}
        assert listed("bob as user", "jobs") == set()
        assert listed("bob as user", "jobs?owner=ann") == set()
        assert listed("bob as operator", "jobs?owner=ann") == {house.job_id, house.files_id}
        assert listed("bob as user", "sources") == {"common", "his"}
        assert listed("bob as user", "sources?owner=ann") == {"common"}
        assert {"private", "common", "his", "made"} == listed("bob as admin", "sources")


def test_names_are_ones_own_and_shared_ones_everybodys(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        house.add_source("common", shared=True)
        house.add_source("same")
        house.add_source("same", owner="eve")
        ask = house.as_
        assert ask("bob as user", "GET", "/api/v1/sources/common").json()["owner"] == "ann"
        assert ask("bob as user", "GET", "/api/v1/sources/common?owner=ann").status_code == 200
        assert ask("bob as user", "GET", "/api/v1/sources/common/preview").status_code == 200
        assert_problem(ask("bob as user", "DELETE", "/api/v1/sources/common"), 403, "forbidden")
        assert_problem(ask("bob as operator", "GET", "/api/v1/sources/same"), 409, "conflict")
        found = ask("bob as operator", "GET", "/api/v1/sources/same?owner=eve").json()
        assert found["owner"] == "eve"
        assert ask("bob as operator", "GET", found["links"]["preview"]).status_code == 200
        assert ask("bob as operator", "DELETE", "/api/v1/sources/same?owner=eve").status_code == 204


def test_sql_means_ones_own_sources(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        house.add_source("common", shared=True)

        def inputs(who: str) -> list[str]:
            sql = "select * from private, common, made"
            answer = house.as_(who, "POST", "/api/v1/jobs", json={"kind": "sql", "sql": sql}).json()
            job = house.world.service.store.job(int(answer["job_id"]))
            return [source["paths"][0].rpartition("/")[2] for source in job.spec["inputs"]]

        assert len(inputs("ann as user")) == 3
        assert inputs("bob as user") == ["ann-common.parquet"]
        assert inputs("bob as admin") == ["ann-common.parquet"]
        house.add_source("private", owner="bob")
        assert "bob-private.parquet" in inputs("bob as user")
        assert "ann-private.parquet" in inputs("ann as user")


def test_result_and_file_names_of_others_are_free(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        job = {"kind": "sql", "sql": "select 1", "result_name": "made"}
        assert house.as_("bob as user", "POST", "/api/v1/jobs", json=job).status_code == 202
        for who in ("ann as user", "bob as user"):
            answer = house.as_(who, "PUT", "/api/v1/files/trips.csv", content=who.encode())
            assert answer.status_code == 201, answer.text
            assert Path(answer.json()["path"]).read_bytes() == who.encode()
        again = house.as_("bob as user", "PUT", "/api/v1/files/trips.csv", content=b"x")
        assert_problem(again, 409, "file_exists")


def test_files_of_others_become_nobodys_source_by_their_path(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        data = house.world.data_dir
        for who in ("ann as user", "bob as user"):
            house.as_(who, "PUT", "/api/v1/files/t.csv?source=false", content=b"a\n1\n")
        private = data / "results" / "ann-private.parquet"
        for path in (
            str(private),
            "results/ann-private.parquet",
            "results/*.parquet",
            "results",
            "nothing/there.csv",
            str(data / "files" / ".owners" / "ann" / "t.csv"),
            str(data / "files" / ".owners" / "*" / "t.csv"),
            "../ann/t.csv",
            str(data),
        ):
            body = {"name": f"grab_{next(house.turn)}", "path": path}
            refused = house.as_("bob as user", "POST", "/api/v1/sources", json=body)
            assert refused.status_code == 422, (path, refused.text)
        link = data / "files" / ".owners" / "bob" / "link.parquet"
        link.symlink_to(private)
        body = {"name": "linked", "path": "link.parquet"}
        assert_problem(house.as_("bob as user", "POST", "/api/v1/sources", json=body), 422, "path_outside")
        own = house.as_("bob as user", "POST", "/api/v1/sources", json={"name": "own", "path": "t.csv"})
        assert own.status_code == 201, own.text
        used = house.as_(
            "bob as user", "POST", "/api/v1/jobs", json={"kind": "sql", "sql": "select * from own"}
        )
        assert used.status_code == 202, used.text
        by_path = {"name": "by_path", "path": str(private)}
        assert house.as_("bob as operator", "POST", "/api/v1/sources", json=by_path).status_code == 201


def test_a_key_works_in_either_header(house: House):
    key = house.keys["ann as viewer"]
    expected = {"owner": "ann", "role": "viewer", "key_id": key.split("_")[1]}
    for headers in (
        {"Authorization": f"bearer  {key}"},
        {"X-API-Key": key},
        {"Authorization": "Basic eDp5", "X-API-Key": key},
    ):
        assert house.world.http.get("/api/v1/whoami", headers=headers).json() == expected


def test_keys_are_made_shown_once_used_and_revoked(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        body = {"owner": "eve", "role": "user", "name": "laptop", "expires_in_days": 1}
        made = house.as_("ann as admin", "POST", "/api/v1/keys", json=body)
        assert made.status_code == 201
        key, key_id = made.json()["key"], made.json()["key_id"]
        assert house.ask(key, "GET", "/api/v1/whoami").json()["owner"] == "eve"
        listed = house.as_("ann as admin", "GET", "/api/v1/keys?limit=1000")
        assert key not in listed.text
        assert (
            key.encode()
            not in (tmp_path / "data" / "tidegate.db").read_bytes()
            + (tmp_path / "data" / "tidegate.db-wal").read_bytes()
        )
        (shown,) = [item for item in listed.json()["items"] if item["key_id"] == key_id]
        assert (shown["state"], shown["created_by"], shown["role"]) == ("valid", "ann", "user")
        revoked = house.as_("ann as admin", "DELETE", f"/api/v1/keys/{key_id}")
        assert revoked.json()["state"] == "revoked"
        assert_problem(house.ask(key, "GET", "/api/v1/whoami"), 401, "unauthenticated")
        assert house.as_("ann as admin", "DELETE", f"/api/v1/keys/{key_id}").json() == revoked.json()
        for bad in (
            {"owner": "Eve", "role": "user"},
            {"owner": "eve/", "role": "user"},
            {"owner": "eve", "role": "root"},
        ):
            assert_problem(house.as_("ann as admin", "POST", "/api/v1/keys", json=bad), 422, "invalid_input")


def test_keys_page(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        seen: list[str] = []
        cursor = ""
        while True:
            answer = house.as_("ann as admin", "GET", f"/api/v1/keys?limit=3{cursor}").json()
            seen += [item["key_id"] for item in answer["items"]]
            if answer["next_cursor"] is None:
                break
            cursor = f"&cursor={answer['next_cursor']}"
        assert sorted(seen) == sorted(key.split("_")[1] for key in house.keys.values())


def test_when_a_key_was_used_is_noted(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        house.as_("bob as viewer", "GET", "/api/v1/whoami")
        house.world.service._readers.submit(lambda: None).result()  # behind the note, or beside it
        house.world.service.doorkeeper.close()
        used = {key.id: key.last_used_at for key in house.world.service.store.all_keys()}
        assert used[house.keys["bob as viewer"].split("_")[1]] is not None
        assert used[house.keys["bob as operator"].split("_")[1]] is None


def test_the_trail_tells_who_did_what(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        headers = {"X-Request-Id": "find-me"}
        house.as_("bob as operator", "POST", f"/api/v1/jobs/{house.job_id}/cancel")
        house.as_("bob as operator", "POST", "/api/v1/queues/default/pause", headers=headers)
        house.as_("ann as user", "POST", "/api/v1/queues/default/pause")
        house.as_("ann as user", "POST", "/api/v1/jobs/bulk", json={"jobs": [SQL] * 3})
        key = house.as_(
            "ann as admin", "POST", "/api/v1/keys", json={"owner": "eve", "role": "viewer"}
        ).json()
        rows = house.as_("bob as operator", "GET", "/api/v1/audit").json()["items"]
        told = [(row["actor"], row["role"], row["action"], row["object"], row["outcome"]) for row in rows[:4]]
        first = int(house.files_id) + 1
        assert told == [
            ("ann", "admin", "key.create", f"key {key['key_id']}", "done"),
            ("ann", "user", "submit", f"jobs {first} to {first + 2}", "done"),
            ("ann", "user", "denied", "POST /api/v1/queues/default/pause", "denied"),
            ("bob", "operator", "queue.change", "queue default", "done"),
        ]
        paused = rows[3]
        assert (paused["request_id"], paused["address"], paused["detail"]) == (
            "find-me",
            "127.0.0.1",
            {"paused": True},
        )
        assert key["key"] not in json.dumps(rows)
        only = house.as_(
            "bob as operator", "GET", "/api/v1/audit?actor=bob&action=queue.change&object=queue%20default"
        )
        assert [row["id"] for row in only.json()["items"]] == [paused["id"]]


def test_previews_leave_no_row_and_belong_to_who_asked(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        before = house.world.service.store.audit(AuditFilter())
        preview = house.as_("bob as operator", "GET", "/api/v1/sources/private/preview").json()
        assert house.world.service.store.job(int(preview["job_id"])).owner == "bob"
        assert house.world.service.store.audit(AuditFilter()) == before


def test_a_body_is_not_read_before_its_sender_is_known(house: House):
    address = house.world.url.removeprefix("http://").split(":")
    for key in (None, "tg_0000000000_" + "A" * 43, house.keys["bob as viewer"]):
        sent = "" if key is None else f"Authorization: Bearer {key}\r\n"
        with socket.create_connection((address[0], int(address[1])), timeout=10) as stranger:
            stranger.sendall(
                f"PUT /api/v1/files/big.bin HTTP/1.1\r\nHost: localhost\r\n{sent}Content-Length: 999999999\r\n\r\n".encode()
            )
            status = stranger.recv(65536).split(b" ", 2)[1]
            assert status in (b"401", b"403", b"429")


def test_wrong_keys_are_slowed_down_by_address_and_right_ones_never(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        wrong = "tg_0000000000_" + "A" * 43
        statuses = [house.ask(wrong, "GET", "/api/v1/whoami").status_code for _ in range(15)]
        assert statuses[:10] == [401] * 10
        assert statuses[-1] == 429
        slowed = house.ask(wrong, "GET", "/api/v1/whoami")
        assert_problem(slowed, 429, "too_many_failures")
        assert int(slowed.headers["retry-after"]) >= 1
        assert house.as_("ann as user", "GET", "/api/v1/whoami").status_code == 200


def test_without_keys_everybody_on_loopback_is_local(tmp_path: Path):
    with world_in(tmp_path) as world:
        for headers in ({}, {"Authorization": "Bearer left-over"}):
            answer = world.http.get("/api/v1/whoami", headers=headers)
            assert answer.json() == {"owner": "local", "role": "admin", "key_id": None}
        assert world.http.post("/api/v1/keys", json={"owner": "ann", "role": "admin"}).status_code == 201
        assert_problem(world.http.get("/api/v1/whoami"), 401, "unauthenticated")


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"allowed_hosts": ["localhost"]}])
def test_beyond_loopback_nobody_is_local(tmp_path: Path, settings: dict[str, Any]):
    with world_in(tmp_path, **settings) as world:
        assert_problem(world.http.get("/api/v1/jobs"), 401, "unauthenticated")


def test_unless_it_was_said_in_words(tmp_path: Path):
    with world_in(tmp_path, host="0.0.0.0", anonymous_access="anyone-may-do-everything") as world:
        assert world.http.get("/api/v1/whoami").json()["role"] == "admin"


def test_a_route_without_a_least_role_cannot_be_made(tmp_path: Path):
    router = guarded_router()
    with pytest.raises(BrokenInvariant, match=r"access\.py does not say"):
        router.add_api_route("/api/v1/forgotten", lambda: None)


def test_a_route_that_nobody_guards_is_not_taken(tmp_path: Path):
    with service_in(tmp_path) as (service, _):
        app = create_app(service)
        from fastapi import APIRouter

        router = APIRouter()
        router.add_api_route("/open", lambda: None)
        with pytest.raises(BrokenInvariant, match="not guarded"):
            include(app, router)


def test_the_description_says_how_a_key_is_sent_and_who_may(house: House):
    described = house.as_("ann as viewer", "GET", "/openapi.json").json()
    assert set(described["components"]["securitySchemes"]) == {"bearer", "header"}
    assert described["security"] == [{"bearer": []}, {"header": []}]
    assert described["paths"]["/health"]["get"]["security"] == []
    assert described["paths"]["/api/v1/audit"]["get"]["x-least-role"] == "operator"
