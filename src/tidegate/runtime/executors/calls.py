"""One call of a function: packed for its process, and what became of it. What cannot be sent is refused here, by name."""

from __future__ import annotations

import functools
import inspect
import io
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple

from tidegate.errors import ExecutorStopped, InvalidInput, NotPicklable
from tidegate.runtime.executors.wire import Part, dump

MAIN_IN_CHILD = "__mp_main__"
"""The name under which a process loads the application's main module, as multiprocessing does: code behind
`if __name__ == "__main__"` does not run there."""


@dataclass(eq=False, slots=True)
class Call:
    """A call on its way. `finish` hears once what became of it, on the pool's thread: a value and None, or an error."""

    number: int
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    memory_bytes: int
    timeout_s: float | None
    parts: Sequence[Part]
    finish: Callable[[Any, BaseException | None], None]
    started_at: float | None = None
    lost: int = 0
    """How often a process died that had been given the call and had not begun it."""
    abandoned: bool = False
    """Nobody waits for it any more."""

    @property
    def name(self) -> str:
        return name_of(self.fn)

    def ran_s(self) -> float:
        """Seconds since it was given to a process, to the millisecond."""
        return 0.0 if self.started_at is None else round(time.monotonic() - self.started_at, 3)


class Counts(NamedTuple):
    """Calls of one executor that run and wait, and those that ended since the start, by how."""

    active: int
    queued: int
    completed: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A call that the executors were closed over: what it was, so that it can be run again, and whether it had begun."""

    executor: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    begun: bool

    def __str__(self) -> str:
        return f"{name_of(self.fn)} ({self.executor}, {'begun' if self.begun else 'not begun'})"


def not_started(fn: object) -> ExecutorStopped:
    """The error of a call that the executors were closed over before it began."""
    return ExecutorStopped(
        f"The executors are closed. {name_of(fn)} has not begun, and can be run again elsewhere.",
        code="not_started",
    )


def name_of(fn: object) -> str:
    """How messages name a function."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if name is None:
        return f"a {type(fn).__module__}.{type(fn).__qualname__}"
    return f"{module}.{name}" if module not in (None, "builtins") else str(name)


def check_callable(fn: object) -> None:
    """Raises InvalidInput for what cannot be called, or only awaited."""
    if not callable(fn):
        raise InvalidInput(
            f"A function is needed, not {fn!r:.80}. Give the function and its arguments one after the other: run(fn, 1, 2)."
        )
    if inspect.iscoroutinefunction(fn):
        raise InvalidInput(f"{name_of(fn)} is a coroutine function: await it on the event loop instead.")


def pack(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Part]:
    """What travels to the process. Raises NotPicklable, naming what of it cannot."""
    check_callable(fn)
    try:
        parts = dump((fn, args, kwargs))
    except Exception as error:
        raise _refusal(fn, args, kwargs, error) from error
    if b"__main__" in parts[0]:
        _check_main(fn)
    return parts


def unpack(parts: Sequence[Part]) -> Any:
    """The value in a frame that came from a process. Raises what unpickling raises."""
    return _Unpickler(io.BytesIO(parts[0]), buffers=parts[1:]).load()


class _Unpickler(pickle.Unpickler):
    """Finds the classes of the main module where they are in this process."""

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class("__main__" if module == MAIN_IN_CHILD else module, name)


def _refusal(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception
) -> NotPicklable:
    name = name_of(fn)
    if (fault := _fault(fn)) is not None:
        return NotPicklable(f"{name} cannot be sent to another process: {_why_not(fn, fault)}")
    values = [(f"argument {place}", value) for place, value in enumerate(args, start=1)]
    values += [(f"argument {key!r}", value) for key, value in kwargs.items()]
    for what, value in values:
        if (fault := _fault(value)) is not None:
            return NotPicklable(
                f"{what.capitalize()} of {name}, of type {_type_name(value)}, cannot be sent to another process: "
                f"{_text(fault)} Pass what it is made from, such as a path, and make it in the function."
            )
    return NotPicklable(f"The call of {name} cannot be sent to another process: {_text(error)}")


def _fault(value: object) -> Exception | None:
    try:
        dump(value)
    except Exception as error:  # noqa: BLE001  a class may raise anything when it is pickled
        return error
    return None


def _why_not(fn: Callable[..., Any], fault: Exception) -> str:
    inner = fn.func if isinstance(fn, functools.partial) else fn
    if isinstance(inner, (FunctionType, MethodType, BuiltinFunctionType)):
        if "<lambda>" in inner.__qualname__:
            return "it is a lambda. Define a function at the top of a module instead."
        if "<locals>" in inner.__qualname__:
            return "it is defined inside another function. Move it to the top of its module."
    return f"{_text(fault)} Only functions at the top of a module can be found by another process."


def _check_main(fn: Callable[..., Any]) -> None:
    """The main module can be loaded again only from a file or by a name."""
    if main_module() is None:
        raise NotPicklable(
            f"The call of {name_of(fn)} needs the main module, which was typed in or piped in, so that no other process can "
            "load it. Put its functions and classes into a module file."
        )


def main_module() -> tuple[str, str] | None:
    """How another process can load the main module: `("name", "pkg.mod")` or `("path", "/a/b.py")`; else None."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return "name", spec.name
    path = getattr(main, "__file__", None)
    return ("path", os.path.abspath(path)) if path and os.path.isfile(path) else None


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    return f"{str(error).strip().rstrip('.') or type(error).__name__}."
