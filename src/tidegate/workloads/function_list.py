"""What modules have registered, and how many threads they start: `python -m tidegate.workloads.function_list MODULE...`

Each module is imported in a process of its own, so that none disturbs the next or the caller. Writes one JSON object to
standard output: by module `error`, or `functions` (name to what it asks for) and `threads`. What a module prints goes to
standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from tidegate import functions


def look(module: str) -> dict[str, Any]:
    """Import a module in a child process and say what is in it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        facts = _import(module)
        with os.fdopen(writer, "w") as pipe:
            json.dump(facts, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        return {"error": f"importing it ended the process with {os.waitstatus_to_exitcode(status)}"}
    found: dict[str, Any] = json.loads(text)
    return found


def _import(module: str) -> dict[str, Any]:
    try:
        importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: whatever it is, the caller is told
        return {"error": f"{type(error).__name__}: {error}"}
    known = {name: dict(found.defaults) for name, found in functions.registered(module).items()}
    return {"functions": known, "threads": len(os.listdir("/proc/self/task"))}


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    answer = {module: look(module) for module in sys.argv[1:]}
    with os.fdopen(out, "w") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
