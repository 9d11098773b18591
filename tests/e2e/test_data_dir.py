"""The data directory: used, moved, remembered, or refused in one sentence."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Running, final, submit
from tidegate.app.server import Server
from tidegate.errors import SettingError
from tidegate.settings import Settings


def test_a_data_directory_that_cannot_be_locked_is_refused(tmp_path: Path) -> None:
    (
        tmp_path / "lock"
    ).mkdir()  # as on a file system that was mounted read-only: it cannot be opened for writing
    with pytest.raises(SettingError, match="cannot be used"):
        Server(Settings(data_dir=tmp_path)).start()


def test_a_data_directory_where_no_disk_is_cannot_be_used_rather_than_is_full() -> None:
    with pytest.raises(SettingError, match="/proc/none cannot be used"):
        Server(Settings(data_dir=Path("/proc/none"))).start()


def test_a_moved_data_directory_keeps_its_results_and_uploads(tmp_path: Path) -> None:
    old, new = Running(tmp_path / "old"), Running(tmp_path / "new")
    old.start()
    with old.client() as http:
        uploaded = http.put("/api/v1/files/cities.csv", content=b"name,size\nUlm,120\nBonn,330\n")
        assert uploaded.status_code == 201, uploaded.text
        job_id = submit(http, "select sum(size) as total from cities", result_name="total")
        assert final(http, job_id)["job_status"] == "SUCCEEDED"
    assert old.stop() == 0
    old.data_dir.rename(new.data_dir)
    new.start()
    try:
        with new.client() as http:
            for name in ("cities", "total"):
                source = http.get(f"/api/v1/sources/{name}").json()
                assert Path(source["path"]).is_relative_to(new.data_dir)
                assert Path(source["path"]).is_file()
                assert http.get(f"/api/v1/sources/{name}/download").status_code == 200
            again = http.put(
                "/api/v1/files/cities.csv", params={"overwrite": "true"}, content=b"name,size\nUlm,1\n"
            )
            assert again.status_code == 201, again.text
            second = final(http, submit(http, "select total + size as s from total, cities"))
            assert second["job_status"] == "SUCCEEDED", second
            assert Path(http.get(f"/api/v1/jobs/{job_id}").json()["result"]["path"]).is_file()
            gone = Path(http.get("/api/v1/sources/total").json()["path"])
            assert http.delete("/api/v1/sources/total").status_code == 204
            assert not gone.exists()
    finally:
        new.stop()


def test_a_source_that_a_command_registered_can_be_read_by_a_later_server(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "cities.csv").write_text("name,size\nUlm,120\n")
    (beside / "secret.csv").write_text("x\n1\n")
    data_dir = tmp_path / "data"
    command = [
        sys.executable, "-m", "tidegate", "sql", "select size from cities", "--source",
        f"cities={beside / 'cities.csv'}", "--data-dir", str(data_dir), "--format", "csv",
    ]  # fmt: skip
    told = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TIDEGATE_YIELD_CPU": "off"},
    )
    assert told.returncode == 0, told.stderr
    later = Running(data_dir)
    later.start()
    try:
        with later.client() as http:
            job = final(http, submit(http, "select size + 1 as s from cities"))
            assert job["job_status"] == "SUCCEEDED", job
            other = http.post("/api/v1/sources", json={"name": "x", "path": str(beside / "secret.csv")})
            assert (other.status_code, other.json()["code"]) == (422, "path_outside")
    finally:
        later.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.root
@pytest.mark.parametrize("used_before", [False, True])
def test_a_start_on_a_full_disk_says_what_is_full_and_what_to_do(small_disk: Path, used_before: bool) -> None:
    data_dir = small_disk / "data"
    if used_before:
        running = Running(data_dir)
        running.start()
        running.stop()
    filler = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(filler, bytes(4096)):
            pass
    os.close(filler)
    for command in ("serve", "sql"):
        arguments = ["--port", "0"] if command == "serve" else ["select 1"]
        told = subprocess.run(
            [sys.executable, "-m", "tidegate", command, *arguments, "--data-dir", str(data_dir)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in told.stderr
        assert f"{data_dir} is full" in told.stderr or f"are free in {data_dir}" in told.stderr
        assert told.returncode in (5, 6), told.stderr
