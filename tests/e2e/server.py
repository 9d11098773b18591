"""Starts and stops `tidegate serve` as a user would, and speaks to it by HTTP."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 30.0


class Running:
    """One data directory and the server on it, which may be stopped, killed and started again."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        # Tests share the machine with each other: jobs that give way to everything would wait for ever.
        self.settings: dict[str, object] = {"yield_cpu": "off", **settings}
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, **settings: object) -> None:
        self.settings.update(settings)
        environment = {f"TIDEGATE_{name.upper()}": str(value) for name, value in self.settings.items()}
        command = [sys.executable, "-m", "tidegate", "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        line = self._first_line()
        self.url = next(word for word in line.split() if word.startswith("http://"))

    def stop(self) -> int | None:
        """SIGTERM and wait; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60)

    def _end(self, number: int) -> int | None:
        if self.process is None:
            return None
        self.process.send_signal(number)
        status = self.process.wait(STOP_DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def _first_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(START_DEADLINE_S), "the server has not said where it listens"
        line = self.process.stdout.readline()
        assert line, f"the server ended at once with {self.process.wait(STOP_DEADLINE_S)}"
        return line


def submit(http: httpx2.Client, sql: str, **fields: object) -> str:
    """A job's id."""
    answer = http.post("/api/v1/jobs", json={"kind": "sql", "sql": sql, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def final(http: httpx2.Client, job_id: str) -> dict[str, Any]:
    """The job once it has ended."""
    job = dict(http.get(f"/api/v1/jobs/{job_id}?wait_s=45").json())
    assert job["finished_at"], f"job {job_id} has not ended: {json.dumps(job)}"
    return job


def started(http: httpx2.Client, job_id: str) -> None:
    """Returns once the job runs."""
    with http.stream("GET", f"/api/v1/jobs/{job_id}/events") as events:
        for line in events.iter_lines():
            if line.startswith("event: started") or '"type":"started"' in line.replace(" ", ""):
                return
    raise AssertionError(f"job {job_id} ended without having started")


def until(look: Callable[[], Any]) -> Any:
    """What `look` sees once that is true; a restart of processes tells nobody outside."""
    deadline, pause = time.monotonic() + 30, threading.Event()
    while not (seen := look()):
        assert time.monotonic() < deadline
        pause.wait(0.05)
    return seen
