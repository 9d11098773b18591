"""What runs in each process of the executors, inside the sandbox: takes calls, one after the other, and answers them."""

from __future__ import annotations

import faulthandler
import importlib
import io
import os
import pickle
import runpy
import socket
import sys
import traceback
import types
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.errors import ExecutorDied, NotPicklable
from tidegate.ports import TaskContext
from tidegate.runtime.executors.calls import MAIN_IN_CHILD, name_of
from tidegate.runtime.executors.wire import Frame, Kind, Part, dump, receive_call, send_answer

SOCKET = "calls"
"""Where the manager listens, and ..."""
BEGUN = "begun"
"""... where the process notes the call it begins: both in its staging folder."""
_inside = False
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def run(context: TaskContext) -> Mapping[str, Any]:
    """Answer calls until the manager hangs up."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(SOCKET)
        begun = os.open(BEGUN, os.O_WRONLY | os.O_CLOEXEC)
        process, kept = _Process(context.spec.get("main")), _Kept()
        _settle(context.spec)
        while (frame := receive_call(sock)) is not None:
            os.pwrite(begun, frame.number.to_bytes(8, "little"), 0)
            kind, parts = process.answer(frame.parts)
            _flush()
            try:
                send_answer(sock, Frame(frame.number, kept.now_bytes(), kind, parts))
            except OSError:
                break
    return {}


def inside() -> bool:
    """Whether this process is one of the executors' own."""
    return _inside


def _settle(spec: Mapping[str, Any]) -> None:
    """Be where the application is, in the file system and among modules; what is printed appears line by line."""
    global _inside  # noqa: PLW0603  one process is inside or not
    _inside = True
    os.chdir(spec["cwd"])
    os.umask(spec["umask"])
    sys.path[:] = spec["path"]
    sys.argv[:] = spec["argv"]
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.enable()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the function has closed it
            continue


class _Process:
    """Unpickles, calls, pickles."""

    def __init__(self, main: Sequence[str] | None) -> None:
        self._main = main
        self._main_loaded = False

    def answer(self, parts: Sequence[Part]) -> tuple[Kind, list[Part]]:
        """What came of a call. Whatever it raises is an answer as well."""
        try:
            fn, args, kwargs = _Unpickler(self, parts).load()
            value = fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a function may even try to leave
            return _raised(error)
        try:
            return Kind.RESULT, dump(value)
        except Exception as error:  # noqa: BLE001  a class may raise anything when it is pickled
            return Kind.UNSENDABLE, dump(_unsendable("result", fn, value, error))

    def load_main(self) -> None:
        """Load the application's main module, when something of it is first needed."""
        if self._main_loaded or self._main is None:
            return
        self._main_loaded = True
        how, where = self._main
        module = types.ModuleType(MAIN_IN_CHILD)
        sys.modules["__main__"] = sys.modules[MAIN_IN_CHILD] = module
        run = runpy.run_module if how == "name" else runpy.run_path
        module.__dict__.update(run(where, run_name=MAIN_IN_CHILD))


class _Unpickler(pickle.Unpickler):
    def __init__(self, process: _Process, parts: Sequence[Part]) -> None:
        super().__init__(io.BytesIO(parts[0]), buffers=parts[1:])
        self._process = process

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__":
            self._process.load_main()
        elif module not in sys.modules:
            importlib.import_module(module)
        return super().find_class(module, name)


def _raised(error: BaseException) -> tuple[Kind, list[Part]]:
    """The error with its traceback as text, as it can be raised again: nothing may make the application leave."""
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, Exception):
        said = f"{type(error).__name__}({error})"
        left = ExecutorDied(f"The function raised {said}, which ends only its own process.", code="left")
        return Kind.RAISED, dump((left, text))
    try:
        parts = dump((error, text))
        pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  our own; many errors can be pickled and not be made again
    except Exception as fault:  # noqa: BLE001
        return Kind.UNSENDABLE, dump(
            NotPicklable(
                f"The function raised {type(error).__name__}: {error}. That error cannot be sent back: {fault}\n{text}",
                code="error_not_picklable",
            )
        )
    return Kind.RAISED, parts


def _unsendable(what: str, fn: object, value: object, error: Exception) -> NotPicklable:
    kind = type(value)
    return NotPicklable(
        f"The {what} of {name_of(fn)}, of type {kind.__module__}.{kind.__qualname__}, cannot be sent back from its process: "
        f"{str(error).rstrip('.') or type(error).__name__}. Return plain data, or write it to a file and return the path.",
        code="result_not_picklable",
    )


class _Kept:
    """What this process keeps between calls. The files it is read from stay open: opening them for each call costs more
    than a small call itself."""

    def __init__(self) -> None:
        self._sizes = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._children: int | None = os.open(
                f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:  # kernels without such files
            self._children = None

    def now_bytes(self) -> int:
        """Private memory, or all there could be when a call has left processes behind."""
        if self._children is not None and os.pread(self._children, 16, 0):
            return 2**62
        resident, shared = map(int, os.pread(self._sizes, 256, 0).split()[1:3])
        return (resident - shared) * _PAGE_BYTES
