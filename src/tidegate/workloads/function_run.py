"""The runner of the kind `function`: finds the registered function, calls it, and turns what it returns into a result."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import functions
from tidegate.core.attempt import whose
from tidegate.core.job import ORIGIN
from tidegate.core.names import FUNCTION_MODULES_VARIABLE
from tidegate.core.resources import MIB
from tidegate.core.values import NotPortable, decode, encode
from tidegate.ports import TaskContext
from tidegate.telemetry.tracing import traceparent_of
from tidegate.workloads import output
from tidegate.workloads.errors import TaskError

MAX_INLINE_BYTES = 32 * 1024
"""A longer result becomes a file."""
MAX_VALUE_BYTES = 64 * MIB
VALUE_FILE = "value.json"


def run(context: TaskContext) -> Mapping[str, Any]:
    """Call the function; answers `value`, or `value_file` for a long one, and the output files.

    Raises TaskError: `function_not_allowed`, `module_not_loaded`, `unknown_function`, and `bad_value` or
    `result_too_large` for what it returned. What the function raises is not caught here.
    """
    _speak_by_lines()
    called = _find(str(context.spec["function"]))
    args = decode(context.spec["args"], where="args")
    kwargs = {name: decode(value, where=name) for name, value in context.spec["kwargs"].items()}
    Path(context.staging, output.FOLDER).mkdir(exist_ok=True)
    if (traceparent := traceparent_of(context.spec)) is not None:
        os.environ["TRACEPARENT"] = traceparent
    if "logging" in sys.modules:  # else the function logs nothing, and its import would cost each child 2 ms
        _carry_into_logs(context)
    functions.enter(_context(context))
    try:
        value = called.call(*args, **kwargs)
        if inspect.iscoroutine(value):
            import asyncio  # noqa: PLC0415  here only: in the zygote it would be 4 MB and 90 mappings, which every fork copies

            value = asyncio.run(value)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    facts = _value(value, context.staging)
    return {**facts, **output.gather(context.staging)}


def _speak_by_lines() -> None:
    """What is printed shall be seen when it is printed, and not be lost at the end.

    New streams, since those that the fork inherited remember what their descriptors were before, such as a file.
    """
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _carry_into_logs(context: TaskContext) -> None:
    from tidegate.workloads.attempt_log import install  # noqa: PLC0415  see above

    owner = context.spec.get(ORIGIN, {}).get("user_id", "")
    install(whose(context.key, owner, context.spec))


def _find(key: str) -> functions.Function[Any, Any]:
    module, _, name = key.partition(":")
    if module not in os.environ.get(FUNCTION_MODULES_VARIABLE, "").split(","):
        raise TaskError(
            f"This worker may not call functions of {module!r}: its setting `function_modules` does not name it.",
            code="function_not_allowed",
        )
    try:
        importlib.import_module(module)
    except Exception as error:
        raise TaskError(
            f"The module {module!r} could not be loaded on this worker: {type(error).__name__}: {error}.",
            code="module_not_loaded",
        ) from error
    found = functions.registered(module).get(name)
    if found is None:
        raise TaskError(
            f"The module {module!r} has registered no function {name!r}.", code="unknown_function"
        )
    return found


def _context(context: TaskContext) -> functions.Context:
    resources = context.resources
    return functions.Context(
        job_id=str(context.key.job_id),
        task_id=str(context.key.task),
        attempt=context.key.attempt,
        cpus=resources.cpu_milli / 1000,
        memory_bytes=resources.memory_bytes,
        timeout_s=context.timeout_s,
        staging=Path(context.staging),
        tell_progress=context.progress,
    )


def _value(value: Any, staging: str) -> dict[str, Any]:
    try:
        encoded = encode(value, where="the result")
    except NotPortable as error:
        raise TaskError(error.message, code="bad_value") from None
    text = json.dumps(encoded, separators=(",", ":"))
    if len(text) <= MAX_INLINE_BYTES:
        return {"value": encoded}
    if len(text) > MAX_VALUE_BYTES:
        raise TaskError(
            f"The result has {len(text)} bytes as JSON, at most {MAX_VALUE_BYTES} are kept. Write it to a file in "
            "`tidegate.current().output_dir` instead.",
            code="result_too_large",
            numbers={"observed": len(text), "limit": MAX_VALUE_BYTES},
        )
    try:
        with Path(staging, output.FOLDER, VALUE_FILE).open("x") as file:
            file.write(text)
    except FileExistsError:
        raise TaskError(
            f"The result is too long to be kept without a file, and the function has left a file {VALUE_FILE!r} itself. "
            "Call that something else.",
            code="bad_value",
        ) from None
    return {"value_file": VALUE_FILE}
