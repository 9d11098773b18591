"""Tidegate runs heavy data jobs on a machine or a cluster, filled to the edge and never over it.

    import tidegate

    with tidegate.connect() as client:
        job = client.sql("select 42 as answer")
        print(job.wait().result().rows())

Names are loaded when they are first used, so that importing the package costs nothing and loads no server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate.client.aio import AsyncClient, connect_async
    from tidegate.client.aio_job import AsyncJob, AsyncResult
    from tidegate.client.client import Client, connect
    from tidegate.client.job import Job, Result
    from tidegate.client.shapes import Column, Event, Explanation, Rows
    from tidegate.errors import (
        AccessDenied,
        Busy,
        Conflict,
        ExecutorError,
        InvalidInput,
        JobFailed,
        NeverFits,
        NotFound,
        ServerUnreachable,
        TidegateError,
        Unavailable,
    )
    from tidegate.functions import current, function
    from tidegate.runtime.executors.manager import ExecutorManager

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "AsyncJob",
    "AsyncResult",
    "Busy",
    "Client",
    "Column",
    "Conflict",
    "Event",
    "ExecutorError",
    "ExecutorManager",
    "Explanation",
    "InvalidInput",
    "Job",
    "JobFailed",
    "NeverFits",
    "NotFound",
    "Result",
    "Rows",
    "ServerUnreachable",
    "TidegateError",
    "Unavailable",
    "__version__",
    "connect",
    "connect_async",
    "current",
    "function",
]

_HOMES = {
    "AsyncClient": "client.aio",
    "AsyncJob": "client.aio_job",
    "AsyncResult": "client.aio_job",
    "Client": "client.client",
    "Column": "client.shapes",
    "Event": "client.shapes",
    "ExecutorManager": "runtime.executors.manager",
    "Explanation": "client.shapes",
    "Job": "client.job",
    "Result": "client.job",
    "Rows": "client.shapes",
    "connect": "client.client",
    "connect_async": "client.aio",
    "current": "functions",
    "function": "functions",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'tidegate' has no attribute {name!r}")
    value: object = getattr(import_module(f"tidegate.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
