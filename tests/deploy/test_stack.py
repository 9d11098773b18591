"""The stack of compose.yaml for real: built, started, used, hurt. Where no Docker engine answers this is skipped; what can be
said without one stands in test_container_files.py and test_install.py."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.cluster.test_cluster import until
from tests.deploy.test_container_files import composes
from tests.pages import console, page
from tidegate.testing.servers import free_port

ROOT = Path(__file__).parents[2]
WITHIN_S = 240.0
JOBS = 24
BOMB = r"x=$(head -c 1048576 /dev/zero | tr '\0' x); while :; do kept=$kept$x; done"
BASES = ("BASE_IMAGE", "POSTGRES_IMAGE", "MARIADB_IMAGE", "REDIS_IMAGE", "PROMETHEUS_IMAGE")


def why_not() -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker client"
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:
        return "no Docker engine answers"
    if not composes():
        return "neither `docker compose` nor docker-compose is installed"
    missing = [name for name in BASES if name not in os.environ]
    if missing and (os.geteuid() != 0 or shutil.which("debootstrap") is None):
        return f"{', '.join(missing)} name no images, and debootstrap, by root, makes them"
    return None


REASON = why_not()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]


class Stack:
    """A project of Compose of its own, with two workers and short leases."""

    def __init__(self, folder: Path, *files: str) -> None:
        self._files = ("compose.yaml", *files)
        self.port, self.prometheus_port = free_port(), free_port()
        self._environment = {**os.environ, **base_images(), **self._settings()}
        self._project = f"tidegate-test-{secrets.token_hex(4)}"
        self._quick = folder / "quick.yaml"
        quick = {
            "TIDEGATE_BEAT_S": "1",
            "TIDEGATE_LEASE_S": "4",
            "TIDEGATE_PRESSURE": "watch",
            "TIDEGATE_GRACE_S": "1",
            "TIDEGATE_ENABLE_COMMANDS": "1",
        }
        services = {name: {"environment": quick} for name in ("web", "worker")}
        self._quick.write_text(json.dumps({"services": services}))  # JSON is YAML

    def _settings(self) -> dict[str, str]:
        return {
            "TIDEGATE_IMAGE": "tidegate:0.1.0-test",
            "WEB_PORTS": str(self.port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "MEMORY_LIMIT": "1024M",
            "ALLOWED_HOSTS": '["*"]',
        }

    def build(self) -> None:
        """By the client itself: that of Compose wants the network of the engine, which a test machine may not have."""
        index = subprocess.run(
            ["python3", "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        arguments = [f"BASE_IMAGE={self._environment['BASE_IMAGE']}", f"PIP_INDEX_URL={index}"]
        self.docker(
            "build", "--network", "host", "-f", "deploy/docker/Dockerfile", "-t", self._environment["TIDEGATE_IMAGE"],
            *(word for argument in arguments for word in ("--build-arg", argument)), ".",
        )  # fmt: skip

    def compose(self, *arguments: str) -> str:
        files = [word for file in (*self._files, str(self._quick)) for word in ("-f", file)]
        return self._run([*composes()[0], "-p", self._project, *files, *arguments])

    def typed(self, words: Sequence[str]) -> str:
        """What Compose says to the words, without a terminal, an image to build, or Grafana, which is not in Debian."""
        if words[0] == "exec":
            return self.compose("exec", "-T", *words[1:])
        return self.compose(*words, "--no-build", "web", "worker", "prometheus")

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments])

    def containers(self, service: str) -> list[str]:
        wanted = f"label=com.docker.compose.service={service}"
        ours = f"label=com.docker.compose.project={self._project}"
        return self.docker("ps", "-aq", "--filter", ours, "--filter", wanted).split()

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return found

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout


def base_images() -> dict[str, str]:
    """Those that are named, and where they are not, ones made here."""
    named = {name: os.environ[name] for name in BASES if name in os.environ}
    if len(named) == len(BASES):
        return named
    made = subprocess.run(
        [ROOT / "scripts/docker_base.sh"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=1800,
    ).stdout  # fmt: skip
    return dict(re.findall(r"^export (\w+)=(\S+)$", made, re.MULTILINE)) | named


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.build()
    try:
        stack.compose("up", "-d", "--no-build", "--scale", "worker=2", "web", "worker", "prometheus")
        yield stack
    finally:
        stack.compose("down", "-v")


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with asking(stack) as client:
        yield client


@contextmanager
def asking(stack: Stack) -> Iterator[httpx2.Client]:
    """A client with the stack's first key, once `web` is healthy."""
    (web,) = stack.containers("web")
    until(lambda: stack.inspect(web)["State"]["Health"]["Status"] == "healthy", "web is healthy", WITHIN_S)
    key = stack.docker("exec", web, "cat", "/run/tidegate/keys/first.key").strip()
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{stack.port}", headers={"X-API-Key": key}, timeout=60, trust_env=False
    ) as client:
        yield client


def ended(http: httpx2.Client, job_id: Any) -> dict[str, Any]:
    """The job once it has ended. The connection may be lost while things are hurt."""
    job: dict[str, Any] = {}

    def over() -> bool:
        job.update(http.get(f"/api/v1/jobs/{job_id}", params={"wait_s": 5}).json())
        return job["job_status"] in ("SUCCEEDED", "FAILED", "CANCELLED")

    until(over, f"job {job_id} has ended", WITHIN_S)
    return job


def test_a_job_goes_through_every_service(stack, http):
    assert http.get("/health", headers={"X-API-Key": ""}).status_code == 200
    assert http.get("/api/v1/jobs", headers={"X-API-Key": ""}).status_code == 401
    until(lambda: len(http.get("/api/v1/workers").json()["items"]) == 2, "two workers are there", WITHIN_S)
    job = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 42 as answer"}).json()
    assert ended(http, job["job_id"])["job_status"] == "SUCCEEDED"
    said = stack.docker("exec", stack.containers("web")[0], "tidegate", "sql", "select 43 as answer")
    assert said.split() == ["answer", "43"]


def test_the_engine_holds_what_the_file_says(stack):
    for container in (*stack.containers("web"), *stack.containers("worker")):
        found = stack.inspect(container)
        host = found["HostConfig"]
        assert host["Memory"] == 1024 * 1024**2
        assert host["NanoCpus"] == 2_000_000_000
        assert host["MemoryReservation"] == 512 * 1024**2
        assert host["PidsLimit"] == 200
        assert host["ReadonlyRootfs"] is True
        ulimits = {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"]}
        assert ulimits == {"nofile": (16384, 16384), "core": (0, 0)}
        assert found["Config"]["User"] == "10001:10001"
        health = found["Config"]["Healthcheck"]
        times = [health[name] // 10**9 for name in ("Interval", "Timeout", "StartPeriod")]
        assert [*times, health["Retries"]] == [30, 10, 40, 3]
        assert not [one for one in found["Config"]["Env"] if "PASSWORD=" in one or re.search(r"://\w*:", one)]


def test_the_doctor_tells_inside_which_limits_hold(stack):
    worker = stack.containers("worker")[0]
    found = json.loads(stack.docker("exec", worker, "tidegate", "doctor", "--json"))
    assert found["software"]["user_id"] == 10001
    assert found["capacity"]["memory_bytes"]["value"] == 1024 * 1024**2
    assert "memory" in found["capacity"]["memory_bytes"]["source"]
    assert found["limits"]["in_use"] == "watchdog"  # the groups of a container cannot be written
    assert found["limits"]["landlock_abi"] > 0
    assert 100 < found["limits"]["processes_free"] < 200
    assert found["services"]["database"]["revision"] == found["services"]["database"]["newest_revision"]
    assert [one for one in found["problems"] if one["severity"] == "error"] == []


@pytest.mark.parametrize(
    ("job", "reasons", "enforced_by"),
    [
        (
            {"kind": "command", "argv": ["sh", "-c", BOMB], "memory": "96MiB"},
            {"memory_limit"},
            "watchdog",  # as the doctor says
        ),
        (
            {
                "kind": "sql",
                "sql": "select count(distinct md5(range::varchar)) from range(50000000)",
                "memory": "96MiB",
                "disk": "1MiB",
            },
            {"memory_limit", "disk_limit"},
            None,  # the database's own limit comes first
        ),
    ],
    ids=["command", "query"],
)
def test_a_job_over_its_memory_ends_and_the_container_goes_on(stack, http, job, reasons, enforced_by):
    before = [stack.inspect(one)["State"]["StartedAt"] for one in stack.containers("worker")]
    found = ended(http, http.post("/api/v1/jobs", json=job).json()["job_id"])
    assert found["job_status"] == "FAILED", found
    assert found["exit"]["reason"] in reasons, found
    if enforced_by:
        assert found["exit"]["enforced_by"] == enforced_by, found
        assert found["exit"]["observed"] > found["exit"]["limit"] == 96 * 1024**2, found
    assert [stack.inspect(one)["State"]["StartedAt"] for one in stack.containers("worker")] == before


def test_killing_a_worker_and_redis_under_load_loses_nothing(stack, http):
    work = "select max(sin(a.range) * cos(b.range)) from range(3000) a, range(3000) b"
    jobs = [{"kind": "sql", "sql": work, "name": f"job {number}"} for number in range(JOBS)]
    answer = http.post("/api/v1/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code < 300, answer.text
    ids = [one["job_id"] for one in answer.json()["items"]]
    assert len(ids) == JOBS

    def running() -> bool:
        return bool(http.get("/api/v1/jobs", params={"status": "RUNNING"}).json()["items"])

    until(running, "a job runs", WITHIN_S)
    (redis,), (victim, _) = stack.containers("redis"), stack.containers("worker")
    stack.docker("kill", victim, redis)
    stack.docker("start", redis)
    states = [ended(http, job_id)["job_status"] for job_id in ids]
    stack.docker("start", victim)
    assert states == ["SUCCEEDED"] * JOBS
    names = [item["name"] for item in http.get("/api/v1/sources", params={"limit": 500}).json()["items"]]
    assert len([name for name in names if name in {f"async_result_{job_id}" for job_id in ids}]) == JOBS
    until(
        lambda: len(http.get("/api/v1/workers").json()["items"]) >= 2, "the killed worker is back", WITHIN_S
    )


def test_the_commands_of_deployment_md_use_the_stack_as_they_say(stack, http):
    commands = [re.sub(r"\s+#.*", "", command) for command, _ in console(page("deployment.md"))]
    up, *used, down = [
        shlex.split(command.removeprefix("docker compose "))
        for command in commands
        if command.startswith("docker compose ") and "--env-file" not in command
    ]
    assert (up, down) == (["up", "-d", "--build"], ["down"])  # as the fixture does, on networks of ours
    said = [stack.typed(words) for words in used]
    key, answer, _, doctor = said
    assert key.strip() == http.headers["X-API-Key"]
    assert answer.split() == ["answer", "42"]
    assert "watchdog" in doctor
    until(lambda: len(http.get("/api/v1/workers").json()["items"]) == 3, "three workers are there", WITHIN_S)
    stack.typed(["up", "-d", "--scale", "worker=2"])


def test_prometheus_finds_every_server_and_worker(stack, http):
    url = f"http://127.0.0.1:{stack.prometheus_port}/api/v1/targets"

    def found() -> list[tuple[str, str]]:
        targets = httpx2.get(url, trust_env=False).json()["data"]["activeTargets"]
        return sorted((one["labels"]["job"], one["health"]) for one in targets)

    wanted = [("tidegate-server", "up"), ("tidegate-worker", "up"), ("tidegate-worker", "up")]
    until(lambda: found() == wanted, "all are asked", WITHIN_S)


def test_a_job_goes_through_the_stack_on_mariadb(stack, tmp_path):
    other = Stack(tmp_path, "deploy/compose/mariadb.yaml")
    try:
        other.compose("up", "-d", "--no-build", "web", "worker")
        with asking(other) as http:
            job = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 42 as answer"}).json()
            assert ended(http, job["job_id"])["job_status"] == "SUCCEEDED"
    finally:
        other.compose("down", "-v")
