"""Functions that jobs may call: `@tidegate.function` registers one, `tidegate.current()` is what it learns of its job.

    @tidegate.function(cpus=2, memory="1GiB")
    def count_words(text: str) -> int:
        return len(text.split())

A function is called on a worker by its name, `module:name`; its module must be importable there and be allowed by the
setting `function_modules`. Arguments and results are values of `core.values`. Called directly it is an ordinary function.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from tidegate.core.resources import parse_bytes, parse_cpus
from tidegate.core.values import encode
from tidegate.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.client.job import Job

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
_OPTIONS = ("cpus", "memory", "disk", "timeout_s", "max_attempts")
_MORE_OPTIONS = (*_OPTIONS, "max_memory", "queue", "priority", "labels", "not_before", "job_name")
_registry: dict[str, Function[Any, Any]] = {}


class Function(Generic[P, R]):
    """A registered function: call it, or submit it as a job."""

    __name__: str

    def __init__(self, call: Callable[P, R], name: str, options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, call)
        self.call = call
        self.module = call.__module__
        self.name = name
        self.defaults = {option: value for option, value in options.items() if value is not None}

    @property
    def key(self) -> str:
        """`module:name`, by which a worker finds it."""
        return f"{self.module}:{self.name}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Function {self.key}>"

    def submission(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """The body of a submission that calls it with these arguments, as `client.submit_many` takes it.

        Raises InvalidInput for arguments that cannot be sent, and for a function of `__main__`.
        """
        if self.module == "__main__":
            raise InvalidInput(
                f"{self.name} is defined in the program itself, which no worker can import. Move it into a module of its "
                "own, and name that in the setting `function_modules`."
            )
        body: dict[str, Any] = {"kind": "function", "function": self.key, **self.defaults}
        if "job_name" in body:
            body["name"] = body.pop("job_name")
        if args:
            body["args"] = encode(list(args), where="args")
        if kwargs:
            body["kwargs"] = {name: encode(value, where=name) for name, value in kwargs.items()}
        return body

    def options(self, **fields: Any) -> Function[P, R]:
        """The same function with other wishes for its jobs: `cpus`, `memory`, `max_memory`, `disk`, `timeout_s`,
        `max_attempts`, `queue`, `priority`, `labels`, `not_before`, `job_name`.
        """
        for name in fields:
            if name not in _MORE_OPTIONS:
                raise TypeError(f"A function has no option {name!r}; there are {', '.join(_MORE_OPTIONS)}.")
        return Function(self.call, self.name, {**self.defaults, **fields})

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Submit a call to the server that `TIDEGATE_URL` or the data directory names. Raises ServerUnreachable."""
        client = import_module("tidegate.client.shared").shared_client()
        job: Job = client.submit(self, *args, **kwargs)
        return job


@overload
def function(call: Callable[P, R], /) -> Function[P, R]: ...


@overload
def function(
    *,
    name: str | None = None,
    cpus: float | None = None,
    memory: int | str | None = None,
    disk: int | str | None = None,
    timeout_s: float | None = None,
    max_attempts: int | None = None,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...


def function(call: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Register a function of a module's top level under its own name or `name`.

    The options are what a job that calls it asks for unless its submitter says otherwise. Raises InvalidInput for a bad
    option, a bad or a taken name.
    """
    for option in options:
        if option not in _OPTIONS:
            raise TypeError(f"function() has no option {option!r}; there are name, {', '.join(_OPTIONS)}.")
    _check_options(options)

    def register(call: Callable[..., Any]) -> Function[..., Any]:
        chosen = name or call.__name__
        if not _NAME.fullmatch(chosen):
            raise InvalidInput(f"{chosen!r} is no name of a function: letters, digits and underscores.")
        if "." in call.__qualname__ and "<locals>" in call.__qualname__:
            raise InvalidInput(
                f"{call.__qualname__} is defined inside another function, where no worker finds it. Move it to the top of "
                "its module."
            )
        made = Function(call, chosen, options)
        taken = _registry.get(made.key)
        if taken is not None and taken.call.__qualname__ != call.__qualname__:
            raise InvalidInput(f"{made.key} is registered already, as {taken.call.__qualname__}.")
        _registry[made.key] = made
        return made

    return register if call is None else register(call)


def _check_options(options: Mapping[str, Any]) -> None:
    if options.get("cpus") is not None:
        parse_cpus(options["cpus"])
    for name in ("memory", "disk"):
        if options.get(name) is not None:
            parse_bytes(options[name], name=name)


def registered(module: str) -> dict[str, Function[Any, Any]]:
    """The functions that a module has registered, by name. The module must have been imported."""
    return {known.name: known for known in _registry.values() if known.module == module}


def _own_folder() -> Path:
    """For a function that is tried outside of a job."""
    import tempfile  # noqa: PLC0415  here only: the zygote loads this module, and every fork would copy what comes along

    return Path(tempfile.mkdtemp(prefix="tidegate-"))


@dataclass
class Context:
    """What a running function knows of its job, and how it speaks."""

    job_id: str | None = None
    """None outside of a job."""
    task_id: str | None = None
    attempt: int = 1
    """Which try this is, from 1. An effect outside, such as a payment, is best named by `key`, which stays the same."""
    cpus: float = 1.0
    memory_bytes: int | None = None
    timeout_s: float | None = None
    staging: Path = field(default_factory=_own_folder)
    """A private folder, gone after the attempt."""
    tell_progress: Callable[[float], None] = lambda share: None

    @property
    def key(self) -> str | None:
        """The same for every attempt of a task, and no other task's: `81.1`."""
        return self.task_id

    @property
    def output_dir(self) -> Path:
        """What is left here is kept as the job's files, as with commands."""
        folder = self.staging / "output"
        folder.mkdir(exist_ok=True)
        return folder

    def progress(self, share: float) -> None:
        """How much is done, 0 to 1. Cheap to call often."""
        self.tell_progress(share)

    def log(self, line: str) -> None:
        """A line for the job's log; `print` does the same."""
        os.write(2, line.rstrip("\n").encode("utf-8", "replace") + b"\n")


_current: Context | None = None


def current() -> Context:
    """The context of the job that this process runs; outside of one a context that does nothing, so that functions can
    be tried anywhere.
    """
    global _current  # noqa: PLW0603 - one process runs one attempt
    if _current is None:
        _current = Context()
    return _current


def enter(context: Context) -> None:
    """Make this the context of the process. For runners."""
    global _current  # noqa: PLW0603
    _current = context
