"""Is run: one module per kind of job, found by entry point.

The module of a kind (`sql`, `inspect`) is light and lives in the server; its runner (`sql_run`,
`inspect_run`) is heavy and is imported only by the zygote and its children.
"""

from __future__ import annotations

from tidegate.workloads.errors import TaskError
from tidegate.workloads.registry import load_workloads

__all__ = ["TaskError", "load_workloads"]
