"""The kind `function`: a registered Python function, called with arguments by its name.

This half lives in the server: it judges a submission and never imports the function's module. That is called by
`function_run`, inside the sandbox.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from tidegate.core.resources import Resources
from tidegate.core.values import decode
from tidegate.errors import InvalidInput
from tidegate.ports import FunctionDefaults, IntakeContext, KindRules, WorkOrder
from tidegate.workloads.command import DEFAULT_REQUEST, SYSTEM_FILES
from tidegate.workloads.sql import within

MAX_ARGUMENTS_BYTES = 256 * 1024
_KEY = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w{0,99})", re.ASCII)


class FunctionWorkload:
    """Judges submissions of kind `function`."""

    kind = "function"
    fields = frozenset({"function", "args", "kwargs"})
    runner = "tidegate.workloads.function_run:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Raises InvalidInput for a function that may not be called, and for arguments that are no values."""
        key = fields.get("function")
        defaults = _defaults(key, context.kinds)
        args, kwargs = _arguments(fields)
        return WorkOrder(
            name=str(key),
            spec={"function": key, "args": args, "kwargs": kwargs, "readable_paths": list(SYSTEM_FILES)},
            request=within(_request(defaults), context.largest),
            timeout_s=defaults.timeout_s or 0.0,
            max_attempts=defaults.max_attempts or 1,
            memory_named=defaults.memory_bytes is not None,
        )


def _defaults(key: object, rules: KindRules) -> FunctionDefaults:
    """What the function asks for. Raises InvalidInput unless it is one that may be called."""
    match = _KEY.fullmatch(key) if isinstance(key, str) and len(key) <= 500 else None
    if match is None:
        raise InvalidInput(
            f"`function` must be a module and a name, such as 'pkg.mod:name', not {key!r:.80}.",
            code="function_missing",
        )
    module = match[1]
    if module not in rules.function_modules:
        offered = ", ".join(rules.function_modules) or "none"
        raise InvalidInput(
            f"Functions of the module {module!r} may not be called here. The setting `function_modules` allows: {offered}.",
            code="function_not_allowed",
        )
    if module in rules.unseen_modules:
        return FunctionDefaults()
    found = rules.functions.get(match[0])
    if found is None:
        raise InvalidInput(_unknown(match[0], module, rules), code="unknown_function")
    return found


def _unknown(key: str, module: str, rules: KindRules) -> str:
    ours = [known for known in rules.functions if known.startswith(f"{module}:")]
    near = difflib.get_close_matches(key, ours, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(sorted(ours)) or 'none'}."
    return f"The module {module!r} has registered no function {key.partition(':')[2]!r}. {hint}"


def _request(defaults: FunctionDefaults) -> Resources:
    def chosen(given: int | None, default: int) -> int:
        return default if given is None else given

    return Resources(
        chosen(defaults.cpu_milli, DEFAULT_REQUEST.cpu_milli),
        chosen(defaults.memory_bytes, DEFAULT_REQUEST.memory_bytes),
        chosen(defaults.disk_bytes, DEFAULT_REQUEST.disk_bytes),
    )


def _arguments(fields: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Both as they were sent, once it is sure that they can be read."""
    args, kwargs = fields.get("args"), fields.get("kwargs")
    args = [] if args is None else args
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, list):
        raise InvalidInput(f"`args` must be a list, not {args!r:.80}.", code="bad_value")
    if not isinstance(kwargs, dict) or not all(name.isidentifier() for name in kwargs):
        raise InvalidInput(
            f"`kwargs` must be an object of names and values, not {kwargs!r:.80}.", code="bad_value"
        )
    decode(args, where="args")
    for name, value in kwargs.items():
        decode(value, where=f"kwargs.{name}")
    size = len(json.dumps([args, kwargs], separators=(",", ":")))
    if size > MAX_ARGUMENTS_BYTES:
        raise InvalidInput(
            f"The arguments have {size} bytes as JSON, at most {MAX_ARGUMENTS_BYTES} are taken. Upload large data and pass "
            "where it is.",
            code="too_long",
            numbers={"asked": size, "limit": MAX_ARGUMENTS_BYTES},
        )
    return args, kwargs
