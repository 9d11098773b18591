"""The start scripts with a real database and broker: what they refuse, what they start, how it ends."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tidegate.testing.servers import PostgreSQL, Redis, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]
SCRIPTS = Path(__file__).parents[2] / "scripts"
WITHIN_S = 90.0
GOOD = {
    "DATABASE_URL": "postgresql://u:secret@127.0.0.1/tidegate",
    "CELERY_BROKER_URL": "redis://:secret@127.0.0.1:6379/0",
    "NFS_SHARE_ROOT_PATH": "/tmp",
}


def environment(given: dict[str, str]) -> dict[str, str]:
    """Nothing of ours, as a service manager starts it."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    return {"PATH": programs, "TIDEGATE": str(Path(sys.executable).with_name("tidegate")), **given}


def refused(script: str, given: dict[str, str], status: int = 2) -> list[str]:
    """The lines of a script that starts nothing, without its name."""
    done = subprocess.run(
        [SCRIPTS / script], env=environment(given), capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert "secret" not in done.stderr
    return [line.removeprefix(f"{script.removesuffix('.sh')}: ") for line in done.stderr.splitlines()]


@pytest.mark.parametrize("script", ["start_web.sh", "start_worker.sh"])
def test_all_that_is_missing_is_told_at_once(script):
    lines = refused(script, {})
    assert [line.partition(" is not set")[0] for line in lines] == list(GOOD)


@pytest.mark.parametrize("script", ["start_web.sh", "start_worker.sh"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"DATABASE_URL": "oracle://u:secret@host/x"}, "DATABASE_URL must begin with one of postgresql://"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"CELERY_BROKER_URL": "localhost:6379"}, "CELERY_BROKER_URL must begin with one of redis://"),
        ({"DATABASE_URL_FILE": "/nowhere"}, "DATABASE_URL_FILE names a file that cannot be read: /nowhere"),
        ({"CONSUL_PORT": "8500"}, "CONSUL_HOST is not set, but CONSUL_PORT is"),
        (
            {"CONSUL_HOST": "c", "CONSUL_PORT": "many"},
            "CONSUL_PORT must be a whole number from 1 to 65535, not 'many'",
        ),
        ({"CONSUL_HOST": "http://c:8500"}, "CONSUL_HOST must be a host name or address alone"),
        ({"TIDEGATE": "/nowhere/tidegate"}, "the command tidegate is not on PATH"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_has_a_line_and_the_status_of_wrong_usage(script, wrong, told):
    (line,) = refused(script, GOOD | wrong)
    assert line.startswith(told)


@pytest.mark.parametrize("script", ["start_web.sh", "start_worker.sh"])
def test_a_folder_that_may_be_mounted_yet_has_the_status_of_try_again(script):
    (line,) = refused(script, GOOD | {"NFS_SHARE_ROOT_PATH": "/nowhere"}, status=5)
    assert line == "NFS_SHARE_ROOT_PATH is no folder: /nowhere (is it mounted?)"
    assert (
        len(refused(script, {"NFS_SHARE_ROOT_PATH": "/nowhere"})) == 3
    )  # beside what nobody mends by waiting


def test_the_number_of_servers_is_looked_at_too():
    (line,) = refused("start_web.sh", GOOD | {"WEB_PROCESSES": "0"})
    assert line == "WEB_PROCESSES must be a whole number from 1 to 64, not '0'"


@contextmanager
def started(script: str, given: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [SCRIPTS / script, *arguments], env=environment(given), stdout=subprocess.PIPE, bufsize=0
    )
    try:
        yield process
        process.terminate()
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def said(process: subprocess.Popen[bytes], words: str) -> str:
    """The next line with these words. Unbuffered, so that what has been said can be selected."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(WITHIN_S):
            line = process.stdout.readline().decode()
            assert line, f"the script ended with {process.wait()}"
            if words in line:
                return line
    raise AssertionError(f"nobody said {words!r}")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def samples_of(page: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


def processes(page: str) -> set[str]:
    """Who has told anything on a page of metrics."""
    return {sample.labels["process"] for sample in samples_of(page)}


def sum_of(page: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for sample in samples_of(page)
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_two_servers_share_a_port_and_a_worker_runs_their_job(
    tmp_path: Path, postgresql: PostgreSQL, redis: Redis
):
    with postgresql.database() as database:
        (tmp_path / "url").write_text(database)
        shared = tmp_path / "shared"
        shared.mkdir()
        port = str(free_port())
        given = {
            "DATABASE_URL_FILE": str(tmp_path / "url"),
            "CELERY_BROKER_URL": redis.url,
            "REDIS_URL": redis.url,
            "NFS_SHARE_ROOT_PATH": str(shared),
            "FIRST_KEY_FILE": str(tmp_path / "first.key"),
            "LOG_FILE": str(tmp_path / "logs" / "server.log"),
            "TIDEGATE_HOST": "0.0.0.0",
            "TIDEGATE_ALLOWED_HOSTS": '["*"]',
            "TIDEGATE_GRACE_S": "0.5",
            "TIDEGATE_YIELD_CPU": "off",
            "METRICS_PORT": str(free_port()),
        }
        with started("start_web.sh", given, "--port", port) as web:
            said(web, "is listening")
            said(web, "is listening")
            servers = children(web.pid)
            assert len(servers) == 2
            with started("start_worker.sh", given, "--name", "first") as worker:
                said(worker, "worker first is ready")
                key = (tmp_path / "first.key").read_text().strip()
                with httpx2.Client(
                    base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=60
                ) as http:
                    job = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 42"})
                    assert job.status_code == 202, job.text
                    ended = http.get(f"/api/v1/jobs/{job.json()['job_id']}", params={"wait_s": 50})
                    assert ended.status_code == 200, ended.text
                    assert ended.json()["job_status"] == "SUCCEEDED", ended.text
                for _ in range(10):  # each on a connection of its own, which the kernel gives to any of them
                    shared_port = f"http://127.0.0.1:{port}/metrics"
                    page = httpx2.get(shared_port, headers={"X-API-Key": key}, timeout=30).text
                    assert processes(page) == {"server-0", "server-1"}
                    assert sum_of(page, "tidegate_crashes_total") == 0  # none is the last run of the other
                    page = httpx2.get(f"http://127.0.0.1:{given['METRICS_PORT']}/metrics", timeout=30).text
                    assert processes(page) == {"server-0", "server-1", "worker-2"}
                    tries = sum_of(page, "tidegate_attempts_total", kind="sql", reason="succeeded")
                    assert tries == sum_of(page, "sql_linting_jobs_total", status="succeeded") == 1
                history = f"http://127.0.0.1:{port}/api/v1/pressure/history"
                samples = httpx2.get(history, headers={"X-API-Key": key}, timeout=30).json()["items"]
                felt = {sample["place"] for sample in samples if sample["place"].startswith("server:")}
                assert {place[-2:] for place in felt} == {"/0", "/1"}
        assert [pid for pid in servers if Path(f"/proc/{pid}").exists()] == []
        logs = sorted((tmp_path / "logs").glob("server*"))
        assert [log.name for log in logs] == [
            "server-1.log",
            "server-2.log",
            "server.log",
        ]  # the last is the worker's
        assert all(log.stat().st_size for log in logs[:2])


def test_when_one_server_dies_the_script_ends_so_that_its_supervisor_starts_all_anew(
    tmp_path: Path, postgresql: PostgreSQL, redis: Redis
):
    with postgresql.database() as database:
        given = {
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": redis.url,
            "NFS_SHARE_ROOT_PATH": str(tmp_path),
            "TIDEGATE_GRACE_S": "0.5",
        }
        process = subprocess.Popen(
            [SCRIPTS / "start_web.sh", "--port", str(free_port())],
            env=environment(given), stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        try:
            said(process, "is listening")
            said(process, "is listening")
            os.kill(children(process.pid)[0], signal.SIGKILL)
            assert process.wait(WITHIN_S) == 128 + signal.SIGKILL
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()
