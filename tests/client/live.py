"""A real server for the tests of client and command line: one for all tests of a process, ended with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tidegate


@contextlib.contextmanager
def live_client(data_dir: Path, **settings: Any) -> Iterator[tidegate.Client]:
    """A client of a server that was started for it, with one small csv file as the source `cities`.

    Its jobs do not yield the CPU: other tests that run at the same time would starve them.
    """
    with tidegate.connect(data_dir=data_dir, grace_s=0.5, yield_cpu="off", **settings) as client:
        file = data_dir / "cities.csv"
        file.write_text(
            "city,people,founded\nRome,2800000,0753-04-21\nBerlin,3700000,1237-10-28\nOslo,700000,1048-01-01\n"
        )
        client.sources.add("cities", file)
        yield client


SLOW_SQL = "select sum(hash(a.i + b.i) % 97) as s from range(300000) a(i), range(300000) b(i)"
"""A query that would run for hours."""
