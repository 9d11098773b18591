"""An idle server: the memory of all its processes, and how soon after the command it answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, at_most, median, number
from benchmarks.http import Pool
from benchmarks.servers import ServerProcess, memory, scratch, tidegate, tree
from tidegate.runtime.sandbox import AHEAD_S

TITLE = "Idle: memory and start"
ABOUT = (
    "`tidegate serve` on an empty data directory and again on the same one. Resident memory (RSS) of the "
    "server, its zygote and its keepers, summed, counts shared pages once for each process; PSS divides "
    "them. Jobs were run before, so that keepers exist; what they forked ahead of more jobs has been ended by then."
)
TIME_LIMIT_S = 180.0

MIB = 1024 * 1024
_JOBS_BEFORE = 20
_SETTLED_AFTER_S = 2.0


def run(quick: bool) -> list[Figure]:
    rounds = 2 if quick else 5
    fresh: list[float] = []
    again: list[float] = []
    resident: list[tuple[int, int]] = []
    used: list[tuple[int, int]] = []
    detail = ""
    for _ in range(rounds):
        with scratch() as folder:
            with _started(folder, fresh) as server:
                time.sleep(_SETTLED_AFTER_S)
                resident.append(memory(tree(server.pid)))
                asyncio.run(_work(server.port))
                time.sleep(AHEAD_S + _SETTLED_AFTER_S)
                used.append(memory(tree(server.pid)))
                detail = _detail(server)
            with _started(folder, again):
                pass
    return [
        Figure("first health answer, fresh data directory", median(fresh), "s", at_most(2.0), _range(fresh)),
        Figure(
            "first health answer, existing data directory", median(again), "s", at_most(2.0), _range(again)
        ),
        Figure(
            "resident memory, just started (RSS)", median([r for r, _ in resident]) / MIB, "MiB", at_most(150)
        ),
        Figure("just started, shared pages divided (PSS)", median([p for _, p in resident]) / MIB, "MiB"),
        Figure(
            f"resident memory, after {_JOBS_BEFORE} jobs (RSS)",
            median([r for r, _ in used]) / MIB,
            "MiB",
            None,
            detail,
        ),
        Figure(
            f"after {_JOBS_BEFORE} jobs, shared pages divided (PSS)",
            median([p for _, p in used]) / MIB,
            "MiB",
            at_most(150),
        ),
    ]


@contextlib.contextmanager
def _started(folder: Path, times: list[float]) -> Iterator[ServerProcess]:
    """A server, with the time from its command to its first health answer."""
    server = tidegate(folder)
    try:
        _ask_health(server.port)
        times.append(time.perf_counter() - server.started_at)
        yield server
    except BaseException:
        server.kill()
        print(server.tail(), file=sys.stderr)
        raise
    server.stop()


def _ask_health(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        status = connection.recv(64).split(b" ")[1]
    if status != b"200":
        raise RuntimeError(f"The first health answer has status {status!r}.")


async def _work(port: int) -> None:
    async with Pool(port) as pool:
        jobs = [
            await pool.call("POST", "/api/v1/jobs", {"kind": "sql", "sql": "select 1"}, status=202)
            for _ in range(_JOBS_BEFORE)
        ]
        for job in jobs:
            seen = await pool.call("GET", f"{job['links']['self']}?wait_s=30")
            if seen["job_status"] != "SUCCEEDED":
                raise RuntimeError(f"A job did not succeed: {seen}")


def _detail(server: ServerProcess) -> str:
    parts = [f"{memory([pid])[0] / MIB:.0f}" for pid in tree(server.pid)]
    return f"RSS of each process in MiB, server first: {', '.join(parts)}"


def _range(values: list[float]) -> str:
    return f"{number(min(values))} to {number(max(values))} s in {len(values)} starts"
