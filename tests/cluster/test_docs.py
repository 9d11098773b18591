"""The five commands of docs/cluster.md start a cluster."""

from __future__ import annotations

import re
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import others_environment
from tidegate.testing.servers import PostgreSQL, Redis, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cluster")]
PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
READY_WITHIN_S = 60.0


def commands(number: int) -> list[str]:
    """Those of one of the page's blocks."""
    block = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[number]
    return [line.removeprefix("$ ").partition("  #")[0].strip() for line in block.splitlines()]


class Shell:
    """Runs the lines of a page; what ends in `&` runs on, once it has said its first line."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.environment = environment
        self.running: list[subprocess.Popen[bytes]] = []
        self._port = str(port)

    def run(self, line: str) -> str:
        words = [word.replace("8420", self._port) for word in shlex.split(line)]
        assert words.pop(0) == "tidegate"
        command = [sys.executable, "-m", "tidegate", *words]
        if words[-1] == "&":
            return self._start(command[:-1])
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _start(self, command: list[str]) -> str:
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE)
        self.running.append(process)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], READY_WITHIN_S)
        assert ready, f"{command} has said nothing"
        return process.stdout.readline().decode()

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            assert process.wait(30) == 0
            assert process.stdout is not None
            process.stdout.close()


def test_five_commands_start_a_cluster_and_four_steer_it(
    tmp_path: Path, postgresql: PostgreSQL, redis: Redis
):
    export, *lines = commands(0)
    assert len(lines) == 4
    names = re.findall(r"(\w+)=\S+", export)
    with postgresql.database() as database:
        values = {
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": redis.url,
            "REDIS_URL": redis.url,
            "NFS_SHARE_ROOT_PATH": str(tmp_path),
        }
        assert set(names) == set(values)
        clean = others_environment()
        extra = {"TIDEGATE_YIELD_CPU": "off", "TIDEGATE_GRACE_S": "0.5"}
        shell = Shell({**clean, **values, **extra}, port := free_port())
        try:
            printed = [shell.run(line) for line in lines]
            assert "answers" in printed[0]  # the doctor on broker and Redis
            assert f":{port}" in printed[1]
            assert "first is ready" in printed[2]
            assert "42" in printed[3]
            shell.environment["TIDEGATE_URL"] = f"http://127.0.0.1:{port}"
            listed, drained, resumed, stopped = [shell.run(line) for line in commands(1)]
            assert "first" in listed
            assert "online" in listed
            assert "draining" in drained
            assert "online" in resumed
            assert "first" in stopped
            assert shell.running[1].wait(30) == 0
        finally:
            shell.close()
