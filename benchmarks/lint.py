"""SQL lint: files beside the command `sqlfluff lint`, a second run, one statement, and an archive with bad files in it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Latencies, at_least, at_most, claim, in_turn, median, number
from benchmarks.http import Connection, request
from benchmarks.lint_files import CONFIG, files, pathological, zipped
from benchmarks.servers import ServerProcess, memory, processes_of, running, scratch, tidegate

TITLE = "SQL lint"
ABOUT = (
    "`tidegate serve` with its defaults, the linter loaded before; archives of SQL files of 0.3 to 3 KB, dialect ansi, "
    "made by a seed. A run is the upload, the job, and its report as JSON. Beside it, in turns, `sqlfluff lint --processes 2 "
    "--format json` on the same files unpacked, other files in each round, both with the parser in Rust. Round trip: "
    "POST, then GET with `wait_s`, one after the other by one client, each statement another one."
)
TIME_LIMIT_S = 900.0

_SETTINGS: Mapping[str, Any] = {"log_level": "warning"}
_FILE_TIMEOUT_S = 5.0
_WAIT_S = 60


class Run(NamedTuple):
    """A job of an archive: how long all of it took, and what it answered."""

    took_s: float
    job: Mapping[str, Any]
    report: Mapping[str, Any]


def run(quick: bool) -> list[Figure]:
    rounds, count, trips = (1, 120, 40) if quick else (2, 1000, 200)
    with running(tidegate, **_SETTINGS) as server, scratch() as folder:
        asyncio.run(_round_trips(server.port, 5, first=-100))
        figures = _beside_the_command(server, folder, rounds, count)
        figures.append(_round_trip(asyncio.run(_round_trips(server.port, trips))))
        return figures + _with_bad_files(server, count)


def _beside_the_command(server: ServerProcess, folder: Path, rounds: int, count: int) -> list[Figure]:
    theirs: dict[int, Mapping[str, Any]] = {}
    ours: dict[int, Run] = {}
    sets = {seed: dict(files(count, seed)) for seed in range(rounds)}
    for seed, contents in sets.items():
        _write(folder / str(seed), contents)

    def command() -> float:
        seed = len(theirs)
        began = time.perf_counter()
        theirs[seed] = _command(folder / str(seed))
        return time.perf_counter() - began

    def service() -> float:
        seed = len(ours)
        ours[seed] = asyncio.run(_archive(server.port, zipped(sets[seed])))
        return ours[seed].took_s

    compared = in_turn(service, command, rounds)
    again = [asyncio.run(_archive(server.port, zipped(sets[seed]))) for seed in range(rounds)]
    second_s = median([one.took_s for one in again])
    return [
        Figure(
            "times as fast as `sqlfluff lint --processes 2`",
            compared.ratio,
            "",
            at_least(1.4),
            f"{count} files: {number(median(compared.a))} s and {number(median(compared.b))} s; "
            f"{rounds} rounds, {compared.spread}",
        ),
        Figure("files", count / median(compared.a), "files/s"),
        Figure(
            "a second run of the same archive, times as fast as that command",
            median(compared.b) / second_s,
            "",
            at_least(50),
            f"{number(second_s)} s; {again[-1].job['summary']['cached']} of {count} files were known",
        ),
        claim("files whose violations are not those of the command", _different(ours, theirs)),
        claim("files whose second answer is not the first one", _changed(ours, again)),
    ]


def _write(folder: Path, contents: Mapping[str, str]) -> None:
    for name, text in {".sqlfluff": CONFIG, **contents}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _command(folder: Path) -> Mapping[str, Any]:
    """The violations that the command tells, by file."""
    done = subprocess.run(
        [sys.executable, "-m", "sqlfluff", "lint", "--processes", "2", "--format", "json", "."],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"sqlfluff failed with {done.returncode}: {done.stderr[-2000:]!r}")
    return {record["filepath"]: record["violations"] for record in json.loads(done.stdout)}


async def _archive(port: int, archive: bytes, **options: Any) -> Run:
    """Upload an archive, have it linted, and read the report."""
    connection = await Connection.open(port)
    began = time.perf_counter()
    put = request("PUT", "/api/v1/files/lint.zip?source=false&overwrite=true")
    put = put.replace(b"content-length: 0", b"content-length: %d" % len(archive)) + archive
    stored = await connection.send(put)
    if stored.status not in (200, 201):
        raise RuntimeError(f"The upload was answered {stored.status}: {stored.body[:500]!r}")
    body = {"zip_file_path": "files/lint.zip", **options}
    made = (await connection.send(request("POST", "/api/v1/jobs", body))).wanted(202)
    path = made["links"]["self"]
    while True:
        job = (await connection.send(request("GET", f"{path}?wait_s={_WAIT_S}"))).wanted(200)
        if job["finished_at"] is not None:
            break
    report = await _report(port, path)
    connection.close()
    return Run(time.perf_counter() - began, job, report)


async def _report(port: int, path: str) -> Mapping[str, Any]:
    """It comes in pieces of unknown length, which `Connection` does not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET {path}/report HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.read()
    writer.close()
    head_end = answer.index(b"\r\n\r\n") + 4
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"The report was answered {answer[:500]!r}")
    found: Mapping[str, Any] = json.loads(_unchunked(answer[head_end:]))
    return found


def _unchunked(body: bytes) -> bytes:
    """RFC 9112, section 7.1."""
    pieces, at = [], 0
    while size := int(body[at : (line_end := body.index(b"\r\n", at))], 16):
        pieces.append(body[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2
    return b"".join(pieces)


def _different(ours: Mapping[int, Run], theirs: Mapping[int, Mapping[str, Any]]) -> list[str]:
    wrong = []
    for seed, found in theirs.items():
        told = {file["file"]: file["violations"] for file in ours[seed].report["files"]}
        for name, violations in found.items():
            one = [(v["rule"], v["line"], v["column"], v["description"]) for v in told.get(name, ())]
            other = [
                (v["code"], v["start_line_no"], v["start_line_pos"], v["description"]) for v in violations
            ]
            wrong += [f"{seed}/{name}"] if one != other else []
        wrong += [f"{seed}/{name} is missing" for name in found.keys() ^ told.keys()]
    return wrong


def _changed(ours: Mapping[int, Run], again: list[Run]) -> list[str]:
    return [
        one["file"]
        for seed, second in enumerate(again)
        for one, other in zip(ours[seed].report["files"], second.report["files"], strict=True)
        if {**one, "cached": True} != other
    ]


async def _round_trips(port: int, trips: int, first: int = 0) -> Latencies:
    connection = await Connection.open(port)
    taken = Latencies([], [])
    for trip in range(first, first + trips):
        text = f"SELECT\n    id,\n    amount as total_{abs(trip)}\nFROM orders\nWHERE id = {trip}\n"
        began = time.perf_counter()
        made = (await connection.send(request("POST", "/api/v1/jobs", {"sql_content": text}))).wanted(202)
        job = (await connection.send(request("GET", f"{made['links']['self']}?wait_s=30"))).wanted(200)
        taken.values.append(time.perf_counter() - began)
        if job["summary"]["by_verdict"]["linted"] != 1 or job["summary"]["cached"]:
            raise RuntimeError(f"The statement was not linted: {job}")
    connection.close()
    return taken


def _round_trip(taken: Latencies) -> Figure:
    note = f"p50 / p99 / max {taken.summary} ms"
    return Figure("round trip of one small statement, p50", taken.ms(0.5), "ms", at_most(30), note)


def _with_bad_files(server: ServerProcess, count: int) -> list[Figure]:
    """An archive with five files that take for ever or all memory, and a bomb."""
    good, bad = dict(files(count - 6, seed=1_000)), dict(pathological())
    before = memory([server.pid, *processes_of(server.data_dir)])[1]
    done, highest = asyncio.run(_watched(server, zipped({**good, **bad})))
    verdicts = {file["file"]: (file["verdict"], file["reason"]) for file in done.report["files"]}
    wrong = [f"{name}: {verdicts.get(name)}" for name in good if verdicts.get(name, ("",))[0] != "linted"]
    wrong += [
        f"{name}: {verdicts.get(name)}" for name in bad if verdicts.get(name, ("linted", ""))[0] == "linted"
    ]
    named = ", ".join(f"{name.partition('/')[2]} {verdicts[name][0]}" for name in bad if name in verdicts)
    shares = [
        (attempt["usage"]["peak_memory_bytes"] or 0) / attempt["request"]["memory_bytes"]
        for task in asyncio.run(_tasks(server.port, done.job))
        for attempt in task["attempts"]
    ]
    return [
        claim(f"of {len(good)} good files and 6 bad ones, those with a wrong verdict", wrong, named),
        Figure(
            "time of that archive", done.took_s, "s", None, f"a file may take {_FILE_TIMEOUT_S:g} s of CPU"
        ),
        Figure(
            "highest memory of a file, as a share of what it may use",
            max(shares),
            "",
            at_most(1.0),
            f"of server and sandboxes together at most {highest / 2**20:.0f} MiB, {before / 2**20:.0f} MiB before",
        ),
    ]


async def _tasks(port: int, job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    connection = await Connection.open(port)
    found: list[Mapping[str, Any]] = []
    cursor = ""
    while True:
        path = f"{job['links']['tasks']}?limit=200{cursor}"
        page = (await connection.send(request("GET", path))).wanted(200)
        found += page["items"]
        if page["next_cursor"] is None:
            connection.close()
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def _watched(server: ServerProcess, archive: bytes) -> tuple[Run, int]:
    """The run, and the highest memory of the server and its sandboxes (shared pages counted once) as seen twice a second."""
    running_ = asyncio.create_task(_archive(server.port, archive, file_timeout_s=_FILE_TIMEOUT_S))
    highest = 0
    while not running_.done():
        highest = max(highest, memory([server.pid, *processes_of(server.data_dir)])[1])
        await asyncio.wait([running_], timeout=0.5)
    return await running_, highest
