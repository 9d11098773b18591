"""A small service that runs the same queries as usual: `python -m benchmarks.peers inline|threads|processes`.

`GET /health`, `POST /work` that answers when the query has ended, and `POST /load` when all files are Parquet.
Prints its address as its first line.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

import duckdb
import uvicorn
from fastapi import FastAPI

WAYS = ("inline", "threads", "processes")
_PR_SET_PDEATHSIG = 1


def answer(sql: str) -> int:
    """Run a query with one thread, as a job of one CPU does; how many rows it has."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        return len(connection.execute(sql).fetchall())


def loaded(path: str) -> int:
    """Turn a CSV file into Parquet with one thread, its types inferred over all rows; how many it has."""
    with (
        tempfile.TemporaryDirectory() as folder,
        duckdb.connect(":memory:", config={"threads": 1}) as connection,
    ):
        made = connection.execute(
            f"COPY (FROM read_csv('{path}', sample_size = -1)) TO '{folder}/rows.parquet' (FORMAT parquet)"
        ).fetchone()
        return int(made[0]) if made else 0


def make_app(way: str) -> FastAPI:
    pool: ProcessPoolExecutor | None = None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal pool
        if way == "processes":
            pool = ProcessPoolExecutor(os.cpu_count(), initializer=_die_with_parent)
        yield
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/work")
    async def work(body: dict[str, str]) -> dict[str, int]:
        if way == "inline":
            return {"rows": answer(body["sql"])}
        loop = asyncio.get_running_loop()
        return {"rows": await loop.run_in_executor(pool, answer, body["sql"])}

    @app.post("/load")
    async def load(body: dict[str, list[str]]) -> dict[str, int]:
        if way == "inline":
            return {"rows": sum(map(loaded, body["files"]))}
        loop = asyncio.get_running_loop()
        made = [loop.run_in_executor(pool, loaded, file) for file in body["files"]]
        return {"rows": sum(await asyncio.gather(*made))}

    return app


def _die_with_parent() -> None:
    """Nothing of this service shall outlive a benchmark that was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    given = parser.parse_args()
    _die_with_parent()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        config = uvicorn.Config(
            make_app(given.way), loop="uvloop", http="httptools", log_config=None, access_log=False
        )
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
