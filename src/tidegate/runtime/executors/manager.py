"""`ExecutorManager`: CPU work in sandboxed processes and blocking work in threads, for any asyncio application.

async with ExecutorManager() as executors:
    total = await executors.run_cpu_intensive(count_words, text, memory="512MiB", timeout=30)
    page = await executors.run_io_intensive(read_page, url)
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from tidegate.core.resources import MIB, format_bytes, parse_bytes
from tidegate.errors import Conflict, ExecutorStopped, InvalidInput, NeverFits, Unavailable
from tidegate.ports import ExecutorStats
from tidegate.runtime.executors import serve
from tidegate.runtime.executors.answers import Answer
from tidegate.runtime.executors.calls import (
    Call,
    Counts,
    Unfinished,
    check_callable,
    main_module,
    name_of,
    pack,
)
from tidegate.runtime.executors.folder import RootFolder
from tidegate.runtime.executors.pool import PoolRules, ProcessPool
from tidegate.runtime.executors.process import RUNNER
from tidegate.runtime.executors.sizes import own_sizes
from tidegate.runtime.executors.threads import ThreadPool
from tidegate.runtime.processes import read_file
from tidegate.runtime.sandbox import Sandboxes
from tidegate.telemetry.figures import of_executors

if TYPE_CHECKING:
    from tidegate.telemetry.exposition import SampleCollector

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("tidegate.executors")

LEAST_MEMORY_BYTES = 32 * MIB
_LONGEST_S = 7 * 86400.0
_open_here: ExecutorManager | None = None


class ExecutorManager:
    """The executors of this process; one at a time. Open it with the application's lifespan: `async with`, or `start`
    and `close`. Its methods may be awaited on any event loop of the process.
    """

    def __init__(
        self,
        *,
        cpu_workers: int | None = None,
        io_threads: int | None = None,
        memory: int | str | None = None,
        grace_s: float = 10.0,
        calls_per_process: int = 500,
        preload: Sequence[str] = (),
        enforcement: str = "auto",
        yield_cpu: str = "auto",
    ) -> None:
        """Sizes come from the arguments, else from CPU_EXECUTOR_WORKERS and IO_EXECUTOR_THREADS, else from the machine.

        `memory` is what a call gets that names none; by default an even share. `grace_s` is what running calls get at the
        end. A process serves at most `calls_per_process` calls. `preload` names modules that are loaded once for all
        processes; they must start no thread. `enforcement` and `yield_cpu` are as the settings of that name. Raises
        SettingError for a figure out of its range.
        """
        self.sizes = own_sizes(cpu_workers=cpu_workers, io_threads=io_threads)
        self.grace_s = grace_s
        self._memory_bytes = (
            max(self.sizes.memory_bytes // self.sizes.cpu_workers, LEAST_MEMORY_BYTES)
            if memory is None
            else parse_bytes(memory)
        )
        self._calls_per_process = calls_per_process
        self._sandboxes = functools.partial(
            Sandboxes,
            rung=enforcement,
            yield_cpu=yield_cpu,
            preload=[RUNNER],
            modules=list(preload),
            confine_files=False,
        )
        self._numbers = itertools.count(1)
        self._pid = os.getpid()
        self._pool: ProcessPool | None = None
        self._threads: ThreadPool | None = None
        self._folder: RootFolder | None = None

    @staticmethod
    def current() -> ExecutorManager:
        """The one that is open in this process. Raises Unavailable when there is none."""
        if _open_here is None or _open_here._pid != os.getpid():
            raise Unavailable(
                "No ExecutorManager is open in this process. Open one with the application's lifespan."
            )
        return _open_here

    async def start(self) -> Self:
        """Open it. Raises Conflict when one is open in this process, SettingError and Unavailable."""
        global _open_here  # noqa: PLW0603  one per process is the contract
        if serve.inside():
            raise InvalidInput(
                "An ExecutorManager cannot be opened in a process of another one. If this is your main module, put what "
                'starts the program behind `if __name__ == "__main__":`.'
            )
        if _open_here is not None and _open_here._pid == os.getpid():
            raise Conflict("An ExecutorManager is open in this process. Use it: ExecutorManager.current().")
        _open_here = self
        try:
            await asyncio.to_thread(self._open)
        except BaseException:
            _open_here = None
            raise
        return self

    async def close(self, grace_s: float | None = None) -> list[Unfinished]:
        """Take no more calls, give running ones their grace, end the rest. Answers, and logs, what did not finish."""
        global _open_here  # noqa: PLW0603
        pool, threads = self._pool, self._threads
        if pool is None or threads is None:
            return []
        self._pool = self._threads = None
        patience_s = self.grace_s if grace_s is None else grace_s
        closing = asyncio.gather(
            asyncio.to_thread(pool.close, patience_s), asyncio.to_thread(threads.close, patience_s)
        )
        try:
            unfinished = [call for calls in await asyncio.shield(closing) for call in calls]
        finally:
            if self._folder is not None:
                self._folder.remove()
            if _open_here is self:
                _open_here = None
        if unfinished:
            log.warning(
                "%d calls did not finish before the executors were closed: %s",
                len(unfinished),
                ", ".join(map(str, unfinished[:20])),
            )
        return unfinished

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run_cpu_intensive(
        self,
        fn: Callable[..., R],
        /,
        *args: Any,
        memory: int | str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  it is the limit of the function's process, not of the wait
        **kwargs: Any,
    ) -> R:
        """Run `fn(*args, **kwargs)` in a process of its own and answer what it returns.

        `memory` is what its process and all it starts may use; `timeout` is in seconds from its start, without the wait for
        its turn. When the awaiting task is cancelled, the processes are ended. Raises what the function raises;
        ExecutorMemoryLimit, ExecutorTimeLimit, ExecutorDied and ExecutorStopped when it did not come to its end;
        NotPicklable, naming the argument; NeverFits for more memory than there is.
        """
        pool = self._opened()[0]
        answer = Answer()
        call = self._call(fn, args, kwargs, memory, timeout, answer)
        pool.submit(call)
        try:
            result: R = await answer.wait()
        except (asyncio.CancelledError, GeneratorExit):
            pool.cancel(call)
            raise
        return result

    async def run_io_intensive(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking function in a thread, with the caller's context variables, and answer what it returns.

        A thread cannot be ended: when the awaiting task is cancelled, a function that has begun goes on unheard.
        """
        check_callable(fn)
        result: R = await self._opened()[1].run(fn, args, kwargs)
        return result

    def stats(self) -> dict[str, ExecutorStats]:
        """Of `cpu` and `io`. Cheap; zeros while it is not open."""
        pool, threads = self._pool, self._threads
        none = Counts(0, 0, 0, 0, 0)
        return {
            "cpu": ExecutorStats(self.sizes.cpu_workers, *(none if pool is None else pool.counts())),
            "io": ExecutorStats(self.sizes.io_threads, *(none if threads is None else threads.counts())),
        }

    def collector(self) -> SampleCollector:
        """For `registry.register(executors.collector())` of prometheus-client."""
        # Loads prometheus-client, which an application without Prometheus does not need.
        from tidegate.telemetry.exposition import SampleCollector  # noqa: PLC0415

        return SampleCollector(lambda: of_executors(self.stats()))

    def _opened(self) -> tuple[ProcessPool, ThreadPool]:
        if os.getpid() != self._pid:
            raise Unavailable(
                "This process was forked from the one that opened the ExecutorManager. Open it after the fork."
            )
        if self._pool is None or self._threads is None:
            raise ExecutorStopped(
                "The ExecutorManager is not open. Use it inside `async with`, or between `start` and `close`.",
                code="not_started",
            )
        return self._pool, self._threads

    def _open(self) -> None:
        self._pid = os.getpid()
        self._folder = RootFolder()
        sandboxes = self._sandboxes(
            instance=f"executors-{secrets.token_hex(4)}",
            python_path=[path for path in sys.path if path],
            environment=dict(os.environ),
        )
        rules = PoolRules(self.sizes.cpu_workers, self.sizes.memory_bytes, self._calls_per_process)
        pool = ProcessPool(sandboxes, rules, self._folder.path, _surroundings)
        try:
            pool.open()
        except BaseException:
            self._folder.remove()
            raise
        self._threads = ThreadPool(self.sizes.io_threads)
        self._pool = pool

    def _call(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        memory: int | str | None,
        timeout_s: float | None,
        answer: Answer,
    ) -> Call:
        memory_bytes = self._memory_bytes if memory is None else parse_bytes(memory)
        if memory_bytes > self.sizes.memory_bytes:
            raise NeverFits(
                f"{name_of(fn)} asks for {format_bytes(memory_bytes)} of memory; all calls together may use "
                f"{format_bytes(self.sizes.memory_bytes)} here. Ask for less.",
                numbers={"asked": memory_bytes, "limit": self.sizes.memory_bytes},
            )
        if timeout_s is not None and not 0 < timeout_s <= _LONGEST_S:
            raise InvalidInput(
                f"timeout must be above 0 and at most {_LONGEST_S:g} seconds, not {timeout_s!r:.40}."
            )
        return Call(
            number=next(self._numbers),
            fn=fn,
            args=args,
            kwargs=kwargs,
            memory_bytes=max(memory_bytes, LEAST_MEMORY_BYTES),
            timeout_s=timeout_s,
            parts=pack(fn, args, kwargs),
            finish=answer.tell,
        )


def _surroundings() -> dict[str, Any]:
    """What a process must know to be where the application is."""
    status = read_file("/proc/self/status")
    cwd = os.getcwd()
    return {
        "cwd": cwd,
        "umask": int(status.partition("\nUmask:")[2].split()[0], 8),
        "path": [path or cwd for path in sys.path],
        "argv": list(sys.argv),
        "main": main_module(),
    }
