"""Files into Parquet: a workbook beside pandas, CSV beside DuckDB alone, and a large workbook under a small limit."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import _duckdb as duckdb
import xlsxwriter

from benchmarks.data import MIB
from benchmarks.figures import Figure, at_least, at_most, claim, in_turn, median, number
from benchmarks.http import Pool, request
from benchmarks.servers import running, tidegate

TITLE = "Files into Parquet"
ABOUT = (
    "Each reading in a process of its own, with one thread, taken in turn: times from before the libraries are loaded to the "
    "rows written. A workbook of 10 columns (numbers, texts, dates, truth values), beside pandas with openpyxl, whose frame "
    "DuckDB writes. CSV of 10 columns (three integers, two doubles, two texts, a date, an instant, a truth value), "
    "beside `read_csv` of DuckDB. Then a workbook of at least 50 MB as an ingest job with `memory` of 512 MiB."
)
TIME_LIMIT_S = 600.0
LIMIT_BYTES = 512 * MIB
_CSV_ROWS = """
    SELECT i AS id, (i * 7919) % 1000003 AS a, (i * 31) % 97 AS k, (i % 1000) / 7.0::DOUBLE AS d,
           round((i % 100000) / 100.0, 2) AS price, 'name ' || (i % 5000) AS name, 'city of ' || (i % 300) AS city,
           DATE '2020-01-01' + CAST(i % 1000 AS INTEGER) AS day, TIMESTAMP '2024-01-01' + to_seconds(i) AS at,
           i % 2 = 0 AS flag
    FROM range({}) t(i)"""


def run(quick: bool) -> list[Figure]:
    rounds = 1 if quick else 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *_workbook(folder, 10_000 if quick else 200_000, 1),
            _csv(folder, 300_000 if quick else 5_000_000, rounds),
            *_large(folder, 20_000 if quick else 400_000),
        ]


def _workbook(folder: Path, rows: int, rounds: int) -> list[Figure]:
    path = _written(folder / "rows.xlsx", rows)
    peaks: dict[str, float] = {}

    def rate(way: str) -> float:
        done = _read(way, path, folder, rows)
        peaks[way] = max(peaks.get(way, 0.0), done["peak_bytes"])
        return rows / float(done["took_s"])

    compared = in_turn(lambda: rate("pandas"), lambda: rate("tidegate"), rounds)
    note = f"{number(rows)} rows: {number(median(compared.b))} a second beside {number(median(compared.a))}"
    sizes = {way: peak / MIB for way, peak in peaks.items()}
    return [
        Figure("xlsx: rows a second, times pandas and openpyxl", compared.ratio, "×", at_least(8.0), note),
        Figure(
            "xlsx: peak memory, times that of pandas and openpyxl",
            sizes["tidegate"] / sizes["pandas"],
            "×",
            at_most(0.6),
            f"{sizes['tidegate']:.0f} MiB beside {sizes['pandas']:.0f}",
        ),
    ]


def _csv(folder: Path, rows: int, rounds: int) -> Figure:
    path = folder / "rows.csv"
    con = duckdb.connect(":memory:")
    con.execute(f"COPY ({_CSV_ROWS.format(rows)}) TO '{path}' (FORMAT csv, HEADER true)")
    con.close()

    def rate(way: str) -> float:
        return rows / float(_read(way, path, folder, rows)["took_s"])

    compared = in_turn(lambda: rate("duckdb"), lambda: rate("tidegate"), rounds)
    path.unlink()
    note = (
        f"{number(rows)} rows: {number(median(compared.b))} a second beside {number(median(compared.a))}; "
        f"{rounds} rounds, neighbours' ratios {compared.spread}"
    )
    return Figure("CSV: rows a second, times DuckDB alone", compared.ratio, "×", at_least(0.9), note)


def _read(way: str, path: Path, folder: Path, rows: int) -> Mapping[str, Any]:
    staging = folder / f"staging-{way}"
    staging.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.read_once", way, str(path), str(staging), str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    read: Mapping[str, Any] = json.loads(done.stdout)
    return read


def _large(folder: Path, rows: int) -> list[Figure]:
    """A large workbook as a job. It may be refused, but then with the numbers."""
    path = _written(folder / "large.xlsx", rows, random_bytes=80)
    with running(tidegate, log_level="error", source_roots=json.dumps([str(folder)])) as server:
        status, answer = asyncio.run(_job(server.port, path))
    if status == "REFUSED":
        wrong = (
            [] if answer.get("asked", 0) > LIMIT_BYTES == answer.get("limit") else [f"refused with {answer}"]
        )
        note = f"refused before it started: {answer}"
    else:
        wrong = [] if status == "SUCCEEDED" else [f"{status}: {answer}"]
        note = f"loaded {answer}"
    size = path.stat().st_size / MIB
    return [
        claim(
            "a large workbook neither loaded nor was refused with the numbers",
            wrong,
            f"{size:.0f} MiB, {note}",
        )
    ]


async def _job(port: int, path: Path) -> tuple[str, Any]:
    body = {"kind": "ingest", "files": [str(path)], "table": "large", "memory": LIMIT_BYTES}
    async with Pool(port) as pool:
        answer = await pool.send(request("POST", "/api/v1/jobs", body))
        if answer.status >= 400:
            return "REFUSED", json.loads(answer.body).get("numbers", {})
        made = answer.wanted(202)
        seen: Mapping[str, Any] = {"finished_at": None}
        while not seen["finished_at"]:
            seen = await pool.call("GET", f"{made['links']['self']}?wait_s=30")
    if seen["job_status"] != "SUCCEEDED":
        return seen["job_status"], seen["exit"]
    peak = seen["usage"]["peak_memory_bytes"] / MIB
    return "SUCCEEDED", f"{seen['result']['inserted']} rows, peak memory {peak:.0f} MiB"


def _written(path: Path, rows: int, random_bytes: int = 0) -> Path:
    """A workbook by xlsxwriter, its texts in the cells; the same in every run. Random text makes it large."""
    chance = random.Random(7)
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    sheet = book.add_worksheet("rows")
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    sheet.write_row(0, 0, ["id", "name", "city", "amount", "count", "day", "paid", "share", "note", "code"])
    for row in range(1, rows + 1):
        sheet.write_row(
            row,
            0,
            [
                row,
                f"name {row * 7919 % 1_000_003}",
                f"city of {row % 300}",
                row * 31 % 100_000 / 100,
                row % 97,
            ],
        )
        sheet.write_number(row, 5, 44_000 + row % 1000, day)
        sheet.write_row(
            row,
            6,
            [
                row % 2 == 0,
                row % 1000 / 7,
                f"note {row * 104_729 % 15_485_863}{chance.randbytes(random_bytes).hex()}",
                f"C{row % 5000}",
            ],
        )
    book.close()
    return path
