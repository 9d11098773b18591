"""With `scratch_dir` jobs spill and write on a disk of their machine; results appear whole on the other one all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.contract import accepted, archive, succeeded, uploaded
from tests.e2e.server import Running, final, started, until

OTHER_DISK = Path("/dev/shm")


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder on another file system than the data directory's, so that no rename leads from one to the other."""
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, scratch: Path) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("data")
    assert data.stat().st_dev != scratch.stat().st_dev
    running = Running(data, scratch_dir=scratch, enable_commands=1)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def http(running: Running) -> Iterator[httpx2.Client]:
    with running.client() as client:
        yield client


def attempts_in(folder: Path) -> list[str]:
    """Of attempts alone; folders that are kept for the next ones begin with a dot."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def place_of(scratch: Path) -> Path:
    (place,) = scratch.glob("tidegate-*")
    return place


def command(script: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "command", "argv": ["sh", "-c", script], "memory": "64MiB", **fields}


def test_a_result_is_made_there_and_published_here(http: httpx2.Client, running: Running, scratch: Path):
    job = succeeded(
        http, {"kind": "sql", "sql": "select range as n from range(100000)", "result_name": "many"}
    )
    path = Path(job["result"]["path"])
    assert path.parent == running.data_dir / "results"
    rows = http.post("/api/v1/query", json={"sql": "select count(*), sum(n) from many"}).json()["rows"]
    assert rows == [[100000, 4999950000]]
    until(lambda: not attempts_in(place_of(scratch)))
    until(lambda: not attempts_in(running.data_dir / "attempts"))


def test_files_of_a_command_are_made_there_and_kept_here(http: httpx2.Client, scratch: Path):
    script = 'echo $TMPDIR; mkdir "$TIDEGATE_OUTPUT_DIR/deep"; echo kept > "$TIDEGATE_OUTPUT_DIR/deep/x"; echo y > "$TMPDIR/y"'
    job = succeeded(http, command(script))
    worked_in = http.get(f"/api/v1/jobs/{job['job_id']}/logs").text.strip()
    assert Path(worked_in).is_relative_to(place_of(scratch))
    assert http.get(f"/api/v1/jobs/{job['job_id']}/files/deep/x").text == "kept\n"


def test_a_job_that_grows_and_one_that_keeps_bad_rows_hand_over_all_they_made(http: httpx2.Client):
    file = uploaded(http, "queries.zip", archive(a="SELECT 1\n", b="SELECT a FROM  t\n"), source="false")
    job = succeeded(http, {"zip_file_path": file["path"]})
    assert job["tasks"]["succeeded"] == 3
    rows = "".join(f"{n},Kiel\n" for n in range(500))
    csv = uploaded(http, "orders.csv", f"id,city\n{rows}x,Bonn\n".encode(), source="false")
    loading = {"kind": "ingest", "files": [csv["path"]], "into": "source", "table": "orders"}
    job = succeeded(http, {**loading, "types": {"id": "integer"}})
    assert (job["result"]["inserted"], job["result"]["bad_rows"]) == (500, 1)
    for source, count in (("orders", 500), (job["result"]["bad_rows_table"], 1)):
        assert http.get(f"/api/v1/sources/{source}").json()["row_count"] == count


def test_the_disk_limit_holds_there(http: httpx2.Client):
    job = final(
        http,
        accepted(
            http,
            command(
                "for n in 1 2 3; do head -c 30m /dev/zero > $n; done; sleep 60", disk="64MiB", memory="256MiB"
            ),
        )["job_id"],
    )
    assert job["exit"]["reason"] == "disk_limit", json.dumps(job)


def test_what_a_killed_server_left_there_is_removed(tmp_path: Path, scratch: Path):
    mine = scratch / "mine"
    killed = Running(tmp_path / "data", scratch_dir=mine, enable_commands=1)
    killed.start()
    with killed.client() as http:
        job_id = accepted(http, command("echo big > spilled; sleep 60"))["job_id"]
        started(http, job_id)
        (left,) = until(lambda: list(mine.rglob("spilled")))
    killed.kill()
    assert left.exists()
    killed.start()
    assert not left.exists()
    with killed.client() as http:
        http.post(f"/api/v1/jobs/{job_id}/cancel")
        final(http, job_id)
    assert killed.stop() == 0


def test_a_place_that_users_could_read_is_refused(tmp_path: Path):
    command = [sys.executable, "-m", "tidegate", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        env={"TIDEGATE_SCRATCH_DIR": str(tmp_path / "files"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert "scratch_dir must not lie in a folder of data_dir" in done.stderr
