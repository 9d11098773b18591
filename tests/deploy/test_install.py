"""What the Dockerfile does to install, done here without an engine: into an empty environment, run on a file system that
cannot be written, by a user who may do nothing."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tidegate.testing.servers import free_port

ROOT = Path(__file__).parents[2]
USER = 10001
WITHIN_S = 90.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user and make mounts"),
    pytest.mark.skipif(
        shutil.which("unshare") is None or shutil.which("setpriv") is None, reason="no util-linux"
    ),
]
NOBODY = [
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
]
ON_WAY_TO_INDEX = (
    "PIP_",
    "SSL_",
    "REQUESTS_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
)


def python_for_all() -> str:
    """An interpreter that the other user can run."""
    for candidate in (shutil.which("python3.11", path=os.defpath), "/usr/bin/python3", sys._base_executable):  # type: ignore[attr-defined]
        code = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
        if candidate and Path(candidate).exists():
            done = subprocess.run([*NOBODY, candidate, "-c", code], capture_output=True, check=False, cwd="/")
            if done.returncode == 0:
                return candidate
    pytest.skip("no Python 3.11 or later with venv that other users can run: apt-get install -y python3-venv")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that other users can reach: those of pytest are for its own user alone."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-image-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def prefix(place: Path) -> Path:
    """An environment made by the steps of the Dockerfile from what gets into its context."""
    source = place / "source"
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            original, target = ROOT / line[1:], source / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(original, target, ignore=skip) if original.is_dir() else shutil.copy(
                original, target
            )
    passed = {name: value for name, value in os.environ.items() if name.startswith(ON_WAY_TO_INDEX)}
    clean = {"PATH": os.defpath, "HOME": "/nonexistent", "PYTHON": python_for_all(), **passed}
    for step in ("dependencies", "tidegate"):
        subprocess.run(
            ["sh", "deploy/docker/install.sh", step, place / "tidegate"],
            cwd=source,
            env=clean,
            check=True,
            timeout=600,
        )
    return place / "tidegate"


def test_nothing_that_only_builds_is_left(prefix):
    code = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    names = subprocess.run(
        [prefix / "bin/python", "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"tidegate", "duckdb", "celery", "psycopg", "sqlfluff"} <= set(names)
    assert not {"pip", "setuptools", "hatchling", "pytest", "mypy"} & set(names)
    assert not prefix.with_name("tidegate-build").exists()


@contextmanager
def confined(prefix: Path, data: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tidegate` as the container runs it: as nobody, with nothing to write to but its data and a folder in memory."""
    script = """
    set -e
    mount --bind "$DATA" "$DATA"
    mount -t tmpfs -o size=64m,mode=1777 tmpfs "$DATA/../tmp"
    mount -o remount,bind,ro /
    ! touch "$PREFIX/written" 2>/dev/null
    exec "$@"
    """
    (data.parent / "tmp").mkdir()
    data.mkdir()
    os.chown(data, USER, USER)
    environment = {
        "PATH": f"{prefix}/bin:{os.defpath}", "HOME": str(data), "TMPDIR": str(data.parent / "tmp"),
        "DATA": str(data), "PREFIX": str(prefix), "TIDEGATE_DATA_DIR": str(data), "TIDEGATE_PRESSURE": "watch",
        "TIDEGATE_YIELD_CPU": "off", "TIDEGATE_GRACE_S": "0.5",
    }  # fmt: skip
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *NOBODY,
         prefix / "bin/tidegate", *arguments],
        cwd="/", env=environment, stdout=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_server_works_as_nobody_on_a_file_system_that_cannot_be_written(prefix, place):
    port = free_port()
    with confined(prefix, place / "data", "serve", "--port", str(port)) as process:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(WITHIN_S), "the server has not begun in time"
        assert b"is listening" in process.stdout.readline()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            assert http.get("/health").status_code == 200
            assert http.get("/api/v1/health/ready").json()["status"] == "ready"
            job = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select sum(range) from range(1000)"})
            assert job.status_code == 202, job.text
            ended = http.get(f"/api/v1/jobs/{job.json()['job_id']}", params={"wait_s": 50}).json()
            assert ended["job_status"] == "SUCCEEDED", ended
