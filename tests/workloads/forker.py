"""A small zygote for tests, run as a program: forks a child for each runner it is told to run.

Reads one JSON object a line from standard input and answers one a line: `result` or `error`, and the `progress` seen.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.ports import TaskContext
from tidegate.workloads.errors import TaskError


def main() -> None:
    for module in ("tidegate.workloads.sql_run", "tidegate.workloads.inspect_run"):
        importlib.import_module(module).warm()
    print(json.dumps({"threads": len(os.listdir("/proc/self/task"))}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def run(order: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            json.dump(child(order), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    answer = json.loads(text) if text else {"died": status}
    return {**answer, "maxrss_bytes": usage.ru_maxrss * 1024}


def child(order: dict[str, Any]) -> dict[str, Any]:
    progress: list[float] = []

    def saw(share: float) -> None:
        progress.append(share)
        if order.get("cancel_at_progress") is not None:
            os.kill(os.getpid(), signal.SIGTERM)

    context = TaskContext(
        key=AttemptKey(7, 1, 1),
        spec=order["spec"],
        resources=Resources(*order["resources"]),
        timeout_s=60,
        staging=order["staging"],
        progress=saw,
        log=lambda line: None,
    )
    module, _, function = order["runner"].partition(":")
    if order.get("cancel_first"):
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = getattr(importlib.import_module(module), function)(context)
    except TaskError as error:
        facts = {
            "message": error.message,
            "code": error.code,
            "reason": error.reason,
            "numbers": error.numbers,
        }
        return {"error": facts, "progress": progress}
    except BaseException:  # noqa: BLE001  the test is told
        return {"crash": traceback.format_exc(), "progress": progress}
    return {"result": dict(result), "progress": progress, "threads": threading.active_count()}


if __name__ == "__main__":
    main()
