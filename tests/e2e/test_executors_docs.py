"""The examples of the page on executors, run as they stand there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

PAGE = (Path(__file__).parents[2] / "docs" / "executors.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
MORE = """
import os
from pathlib import Path
from fastapi import Request
from service import app

def wait_at_the_gate():
    Path("bell").write_text(str(os.getpid()))
    return Path("gate").read_text()

@app.get("/wait")
async def wait(request: Request) -> str:
    return await request.app.state.executors.run_cpu_intensive(wait_at_the_gate)
"""


def run(folder: Path, text: str) -> str:
    (folder / "run.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_prints_what_the_page_shows(tmp_path: Path) -> None:
    [shown] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert run(tmp_path, EXAMPLES["program.py"]) == shown


def test_the_service_answers_and_ends_as_asked(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(EXAMPLES["service.py"])
    (tmp_path / "more.py").write_text(MORE)
    for name in ("bell", "gate"):
        os.mkfifo(tmp_path / name)
    with served(tmp_path) as (server, url), ThreadPoolExecutor(1) as threads:
        assert httpx2.get(f"{url}/total?n=10").json() == 45
        asked = threads.submit(httpx2.get, f"{url}/wait", timeout=50.0)
        process_group = os.getpgid(int((tmp_path / "bell").read_text()))
        assert process_group != server.pid  # a terminal's Ctrl-C, which goes to a whole group, spares it
        os.killpg(server.pid, signal.SIGINT)
        line_with(server, "Shutting down")
        (tmp_path / "gate").write_text("go on")
        assert asked.result().json() == "go on"
        rest = read_to_the_end(server)  # its end comes when the last process that has it is gone
        assert "Application shutdown complete" in rest
        assert "Traceback" not in rest
        assert server.wait(50.0) == 0


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The page's service, with one route more, as uvicorn runs it from a terminal; and where it listens."""
    command = [sys.executable, "-m", "uvicorn", "more:app", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, process_group=0) as server:
        try:
            found = re.search(r"http://\S+", line_with(server, "Uvicorn running"))
            assert found is not None
            yield server, found.group()
        finally:
            server.kill()


def line_with(server: subprocess.Popen[str], words: str) -> str:
    assert server.stderr is not None
    return next(line for line in server.stderr if words in line)


def read_to_the_end(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    return server.stderr.read()
