"""A job and a result as programs see them, without the doing: both faces add their methods to these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from tidegate.client.shapes import FINAL, Column, Document, Explanation, columns_of, instant


class JobView:
    """A job as the server last described it. `document` has all that it said."""

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def id(self) -> str:
        return str(self.document["job_id"])

    @property
    def status(self) -> str:
        """`ACCEPTED`, `QUEUED`, `RUNNING`, `SUCCEEDED`, `FAILED` or `CANCELLED`, as last heard; see `refresh`."""
        return str(self.document["job_status"])

    @property
    def finished(self) -> bool:
        return self.status in FINAL

    @property
    def kind(self) -> str | None:
        return self.document.get("kind")

    @property
    def name(self) -> str | None:
        return self.document.get("name")

    @property
    def queue(self) -> str | None:
        return self.document.get("queue")

    @property
    def priority(self) -> str | None:
        return self.document.get("priority")

    @property
    def position(self) -> int | None:
        """Place in its queue; 1 is next. None when it does not wait."""
        waiting = self.document.get("waiting") or {}
        return waiting.get("position", self.document.get("position"))

    @property
    def progress(self) -> float | None:
        """Share done, 0 to 1; None when it is not known."""
        return self.document.get("progress")

    @property
    def created_at(self) -> datetime | None:
        return instant(self.document.get("created_at"))

    @property
    def started_at(self) -> datetime | None:
        return instant(self.document.get("started_at"))

    @property
    def finished_at(self) -> datetime | None:
        return instant(self.document.get("finished_at"))

    @property
    def request(self) -> Mapping[str, Any]:
        """What it asked for: CPUs, memory, disk, time limit."""
        return self.document.get("request") or {}

    @property
    def usage(self) -> Mapping[str, Any]:
        """What it used: `peak_memory_bytes`, `cpu_seconds`, `wall_seconds`; empty until it has run."""
        return self.document.get("usage") or {}

    @property
    def exit(self) -> Mapping[str, Any] | None:
        """Why it ended without success: `reason`, `message`, `limit`, `observed`, `enforced_by`."""
        return self.document.get("exit")

    @property
    def explanation(self) -> Explanation:
        """Why it waits or why it ended, as last heard."""
        return Explanation.from_job(self.document)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"


class ResultView:
    """What a job produced, without its rows."""

    def __init__(self, job_id: str, document: Mapping[str, Any]) -> None:
        self.job_id = job_id
        self.document = document

    @property
    def source(self) -> str | None:
        """The name under which the result can be queried."""
        return self.document.get("source")

    @property
    def _value_file(self) -> str | None:
        """The file that holds what a function returned, when it was long. Raises ValueError when it was no function."""
        if "value" not in self.document and "value_file" not in self.document:
            raise ValueError(f"Job {self.job_id} called no function, so it has no value.")
        return self.document.get("value_file")

    @property
    def exit_code(self) -> int | None:
        """Of a command: 0. A command that ended with another one has failed, and its code is in `exit` of the job."""
        return self.document.get("exit_code")

    @property
    def path(self) -> Path | None:
        """The Parquet file, or the folder of output files, on the server's machine."""
        path = self.document.get("path")
        return None if path is None else Path(path)

    @property
    def columns(self) -> tuple[Column, ...]:
        return columns_of(self.document)

    @property
    def row_count(self) -> int | None:
        return self.document.get("row_count")

    @property
    def size_bytes(self) -> int | None:
        return self.document.get("size_bytes")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of job {self.job_id}: {self.row_count} rows × {len(self.columns)} columns>"


def require_pyarrow() -> Any:
    """The module `pyarrow.parquet`. Raises ImportError naming the extra that brings it."""
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(
            "Results as Arrow tables need pyarrow: pip install 'tidegate[arrow]'. Without it, rows() gives dicts."
        ) from error


def require_pandas() -> None:
    """Raises ImportError unless data frames can be made here."""
    require_pyarrow()
    try:
        import_module("pandas")
    except ImportError as error:
        raise ImportError("Results as data frames need pandas beside pyarrow: pip install pandas.") from error


class Source:
    """A named data set on the server. `document` has all that the server said of it."""

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def format(self) -> str:
        return str(self.document.get("format"))

    @property
    def path(self) -> str | None:
        """File, glob or folder on the server's machine."""
        return self.document.get("path")

    @property
    def columns(self) -> tuple[Column, ...]:
        return columns_of(self.document)

    @property
    def row_count(self) -> int | None:
        return self.document.get("row_count")

    @property
    def size_bytes(self) -> int | None:
        return self.document.get("size_bytes")

    @property
    def job_id(self) -> str | None:
        """The job that made it, if one did."""
        return self.document.get("job_id")

    def __repr__(self) -> str:
        return f"<Source {self.name}: {self.row_count} rows × {len(self.columns)} columns>"


class Queue:
    """A queue: its settings and how many wait and run. `document` has all that the server said of it."""

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def paused(self) -> bool:
        return bool(self.document.get("paused"))

    @property
    def max_concurrent(self) -> int | None:
        """Most tasks that run at once; None: no cap."""
        return self.document.get("max_concurrent")

    @property
    def weight(self) -> int | None:
        return self.document.get("weight")

    @property
    def running(self) -> int | None:
        return self.document.get("running")

    @property
    def waiting(self) -> int | None:
        return self.document.get("waiting")

    def __repr__(self) -> str:
        state = "paused" if self.paused else f"{self.running} running, {self.waiting} waiting"
        return f"<Queue {self.name}: {state}>"


class Worker:
    """A worker: a machine that runs jobs. `document` has all that the server said of it."""

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def id(self) -> str:
        return str(self.document["worker_id"])

    @property
    def status(self) -> str:
        """`online`, `draining`, `silent` (no beat in time) or `left`, as last heard."""
        return str(self.document["status"])

    @property
    def running(self) -> list[str]:
        """Attempts that hold something there."""
        return list(self.document.get("running") or ())

    def __repr__(self) -> str:
        return f"<Worker {self.id}: {self.status}, {len(self.running)} running>"
