"""The executors with real processes: what comes back, what fails and why, and that nothing else is touched."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import executor_calls as calls
from tests.runtime.lab import all_gone, groups_of, rungs_to_try
from tidegate import ExecutorManager
from tidegate.errors import (
    Conflict,
    ExecutorDied,
    ExecutorMemoryLimit,
    ExecutorStopped,
    ExecutorTimeLimit,
    InvalidInput,
    NeverFits,
    NotPicklable,
    SettingError,
    Unavailable,
)
from tidegate.runtime.processes import read_file

context_name: contextvars.ContextVar[str] = contextvars.ContextVar("context_name", default="none")


def instance_of(executors: ExecutorManager) -> str:
    assert executors._pool is not None
    return str(executors._pool._sandboxes._config["instance"])


@contextlib.asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[ExecutorManager]:
    """An open manager, which leaves nothing behind."""
    options = {"cpu_workers": 1, "memory": "128MiB", "grace_s": 20.0, "yield_cpu": "off", **options}
    async with ExecutorManager(**options) as executors:
        instance = instance_of(executors)
        folder = executors._folder
        yield executors
    assert folder is not None
    assert not folder.path.exists()
    assert await asyncio.to_thread(all_gone, instance)
    assert groups_of(instance) == []


def story(coroutine: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a test's coroutine with an open manager."""

    async def tell() -> None:
        async with opened(**options) as executors:
            await coroutine(executors)

    asyncio.run(tell())


class Pipe:
    """A FIFO between a test and the functions it has called, read without keeping the loop busy."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    async def heard(self) -> list[int]:
        """The next line's numbers, as soon as somebody has said them."""
        await readable(self._fd)
        return self.heard_so_far()

    def heard_so_far(self) -> list[int]:
        """The same, or none when nobody has said anything."""
        try:
            return [int(number) for number in os.read(self._fd, 4096).split()]
        except BlockingIOError:
            return []

    def say(self) -> None:
        """Let one who reads it go on."""
        os.write(self._fd, b"go on\n")

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Pipe]:
    """What functions say when they have begun."""
    with contextlib.closing(Pipe(tmp_path / "bell")) as pipe:
        yield pipe


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Pipe]:
    """What functions wait for."""
    with contextlib.closing(Pipe(tmp_path / "gate")) as pipe:
        yield pipe


async def readable(fd: int) -> None:
    """Wait until there is something to read."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await asyncio.wait_for(ready.wait(), 30.0)
    finally:
        loop.remove_reader(fd)


async def ended(pid: int) -> None:
    """Wait until a process is gone, or only waits to be reaped."""
    fd = os.pidfd_open(pid)
    try:
        await readable(fd)
    finally:
        os.close(fd)


async def settled(executors: ExecutorManager) -> None:
    """Wait until every task made so far has asked, and the executors' thread has taken in what was asked."""
    assert executors._pool is not None
    loop, pool, done = asyncio.get_running_loop(), executors._pool, asyncio.Event()

    def tell() -> None:
        loop.call_soon_threadsafe(done.set)

    loop.call_soon(pool._post, tell)
    await asyncio.wait_for(done.wait(), 30.0)


class Blocked:
    """A blocking function that tells the loop when it has begun, and waits to be let go."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Semaphore(0)
        self._gate = threading.Event()

    def __call__(self) -> bool:
        self._loop.call_soon_threadsafe(self._begun.release)
        return self._gate.wait(30.0)

    async def begun(self) -> None:
        """Wait until one more thread is in it."""
        await asyncio.wait_for(self._begun.acquire(), 30.0)

    def let_go(self) -> None:
        self._gate.set()


def gone(pid: int) -> bool:
    try:
        return read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_results_come_back_and_the_process_stays_warm() -> None:
    async def check(executors: ExecutorManager) -> None:
        made = await executors.run_cpu_intensive(calls.pair, 1, right=[2])
        assert (made.left, made.right) == (1, [2])
        assert await executors.run_cpu_intensive(calls.add, 1, 2, more=3) == 6
        assert await executors.run_cpu_intensive(functools.partial(calls.add, 1), 2) == 3
        pids = {await executors.run_cpu_intensive(calls.pid) for _ in range(20)}
        assert len(pids) == 1
        assert os.getpid() not in pids
        large = bytearray(os.urandom(5_000_000))
        assert await executors.run_cpu_intensive(calls.double, large) == large + large
        stats = executors.stats()["cpu"]
        assert (stats.active, stats.queued, stats.completed, stats.failed) == (0, 0, 24, 0)

    story(check)


def test_a_process_is_where_the_application_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_BY_EXECUTORS", "yes")
    monkeypatch.chdir(tmp_path)

    async def check(executors: ExecutorManager) -> None:
        seen = await executors.run_cpu_intensive(calls.surroundings)
        assert seen["cwd"] == str(tmp_path)
        assert seen["seen"] == "yes"
        status = read_file("/proc/self/status")
        assert seen["umask"] == int(status.partition("\nUmask:")[2].split()[0], 8)
        await executors.run_cpu_intensive(Path.write_text, tmp_path / "written", "here")
        assert (tmp_path / "written").read_text() == "here"

    story(check)


@pytest.mark.parametrize("rung", rungs_to_try())
def test_a_call_over_its_memory_fails_alone_and_in_numbers(rung: str) -> None:
    async def check(executors: ExecutorManager) -> None:
        with pytest.raises(
            ExecutorMemoryLimit, match=r"use_memory .* its 64 MiB of memory .*memory=?"
        ) as caught:
            await executors.run_cpu_intensive(calls.use_memory, 200, memory="64MiB")
        assert caught.value.numbers["limit_bytes"] == 64 << 20
        assert await executors.run_cpu_intensive(calls.use_memory, 200, memory="512MiB") == 200 << 20

    story(check, enforcement=rung)


def test_a_call_over_its_time_is_ended_and_says_so(bell: Pipe) -> None:
    async def check(executors: ExecutorManager) -> None:
        with pytest.raises(ExecutorTimeLimit, match=r"longer than its time limit of 0\.5 s") as caught:
            await executors.run_cpu_intensive(calls.tell_with_child_and_stay, bell.path, timeout=0.5)
        assert caught.value.numbers["limit_s"] == 0.5
        assert all(map(gone, bell.heard_so_far()))
        assert await executors.run_cpu_intensive(calls.add, 1, 1, timeout=20) == 2

    story(check)


@pytest.mark.parametrize(
    ("fn", "args", "code", "said"),
    [
        (calls.kill_self, (signal.SIGKILL,), "sigkill", "ended from outside by SIGKILL"),
        (calls.crash, (), "sigsegv", "crashed by SIGSEGV"),
        (calls.leave, ("_exit",), "exit_code", "left with exit code 7"),
        (calls.leave, ("exit",), "left", r"SystemExit\(7\)"),
        (calls.leave, ("interrupt",), "left", "KeyboardInterrupt"),
        (calls.kill_keeper, (), "keeper_died", "the process that watched over it"),
    ],
)
def test_a_death_fails_one_call_and_the_next_succeeds(
    fn: Callable[..., Any], args: tuple[Any, ...], code: str, said: str
) -> None:
    async def check(executors: ExecutorManager) -> None:
        with pytest.raises(ExecutorDied, match=said) as caught:
            await executors.run_cpu_intensive(fn, *args)
        assert caught.value.code == code
        assert await executors.run_cpu_intensive(calls.add, 1, 1) == 2
        stats = executors.stats()["cpu"]
        assert (stats.completed, stats.failed) == (1, 1)

    story(check)


def test_of_a_hundred_calls_exactly_the_killed_one_fails(bell: Pipe) -> None:
    async def check(executors: ExecutorManager) -> None:
        work: list[Any] = [executors.run_cpu_intensive(calls.add, number, 1) for number in range(100)]
        work.insert(50, executors.run_cpu_intensive(calls.tell_and_stay, bell.path))
        waiting = asyncio.gather(*work, return_exceptions=True)
        [pid] = await bell.heard()
        os.kill(pid, signal.SIGKILL)
        answers = await waiting
        killed = answers.pop(50)
        assert isinstance(killed, ExecutorDied)
        assert killed.numbers["signal"] == 9
        assert answers == list(range(1, 101))
        assert await executors.run_cpu_intensive(calls.add, 1, 1) == 2

    story(check, cpu_workers=2)


def test_the_death_of_an_idle_process_fails_nothing() -> None:
    async def check(executors: ExecutorManager) -> None:
        for number in range(10):
            os.kill(await executors.run_cpu_intensive(calls.pid), signal.SIGKILL)
            assert await executors.run_cpu_intensive(calls.add, number, 1) == number + 1

    story(check)


def test_the_death_of_the_zygote_fails_nothing_that_is_not_running() -> None:
    async def check(executors: ExecutorManager) -> None:
        assert executors._pool is not None
        await executors.run_cpu_intensive(calls.pid)
        zygote = executors._pool._sandboxes.processes()[0]
        os.kill(zygote, signal.SIGKILL)
        await ended(zygote)
        for number in range(5):
            with contextlib.suppress(ExecutorDied):
                assert await executors.run_cpu_intensive(calls.add, number, 1) == number + 1
        assert await executors.run_cpu_intensive(calls.add, 1, 1) == 2

    story(check)


def test_what_a_function_raises_is_raised_with_where() -> None:
    async def check(executors: ExecutorManager) -> None:
        with pytest.raises(calls.Odd) as caught:
            await executors.run_cpu_intensive(calls.raise_odd, 7)
        assert caught.value.amount == 7
        assert "in raise_odd" in caught.value.__notes__[0]
        with pytest.raises(
            NotPicklable, match=r"raised Unmakeable: one\. That error cannot be sent back"
        ) as odd:
            await executors.run_cpu_intensive(calls.raise_unmakeable)
        assert odd.value.code == "error_not_picklable"
        with pytest.raises(RuntimeError, match=r"StopIteration\(3\)"):
            await executors.run_cpu_intensive(calls.raise_, StopIteration(3))
        assert await executors.run_cpu_intensive(calls.add, 1, 1) == 2

    story(check)


def test_what_cannot_be_pickled_is_refused_by_name() -> None:
    def local() -> None: ...

    async def check(executors: ExecutorManager) -> None:
        lock = threading.Lock()
        refusals: list[tuple[Any, Any, str]] = [
            ((lambda: 1,), {}, "it is a lambda"),
            ((local,), {}, r"local cannot be sent .* defined inside another function"),
            ((calls.echo, lock), {}, r"Argument 1 of .*\.echo, of type _thread\.lock, cannot be sent"),
            ((calls.pair, 1, lock), {}, r"Argument 2 of .*\.pair, of type _thread\.lock"),
            ((calls.pair, 1), {"right": [lock]}, r"Argument 'right' of .*\.pair, of type list"),
        ]
        for args, kwargs, said in refusals:
            with pytest.raises(NotPicklable, match=said):
                await executors.run_cpu_intensive(*args, **kwargs)
        with pytest.raises(
            NotPicklable, match=r"The result of .*\.unsendable, of type _io\.TextIOWrapper"
        ) as caught:
            await executors.run_cpu_intensive(calls.unsendable)
        assert caught.value.code == "result_not_picklable"
        runs: list[Any] = [executors.run_cpu_intensive, executors.run_io_intensive]
        for run in runs:
            with pytest.raises(InvalidInput, match="is a coroutine function"):
                await run(check)
            with pytest.raises(InvalidInput, match="A function is needed"):
                await run(calls.echo(1))
        assert executors.stats()["cpu"].failed == 1

    story(check)


def test_cancelling_the_task_ends_the_tree(bell: Pipe) -> None:
    async def check(executors: ExecutorManager) -> None:
        task = asyncio.create_task(executors.run_cpu_intensive(calls.tell_with_child_and_stay, bell.path))
        waiting = asyncio.create_task(executors.run_cpu_intensive(calls.add, 1, 1))
        never = asyncio.create_task(executors.run_cpu_intensive(calls.tell_and_stay, bell.path))
        pids = await bell.heard()
        never.cancel()
        task.cancel()
        for cancelled in (task, never):
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        assert await waiting == 2
        assert all(map(gone, pids))
        assert bell.heard_so_far() == []
        assert executors.stats()["cpu"].cancelled == 2

    story(check)


def test_calls_beyond_the_size_wait_in_order(bell: Pipe, gate: Pipe) -> None:
    async def check(executors: ExecutorManager) -> None:
        order = []
        first = asyncio.create_task(executors.run_cpu_intensive(calls.tell_and_wait, bell.path, gate.path))
        await bell.heard()

        async def later(number: int) -> None:
            order.append(await executors.run_cpu_intensive(calls.echo, number))

        others = [asyncio.create_task(later(number)) for number in range(10)]
        await settled(executors)
        stats = executors.stats()["cpu"]
        assert (stats.active, stats.queued) == (1, 10)
        gate.say()
        await asyncio.gather(first, *others)
        assert order == list(range(10))

    story(check)


def test_memory_that_is_not_there_is_waited_for_or_refused(bell: Pipe, gate: Pipe) -> None:
    async def check(executors: ExecutorManager) -> None:
        assert executors._pool is not None
        total = executors.sizes.memory_bytes
        with pytest.raises(NeverFits, match="all calls together may use") as caught:
            await executors.run_cpu_intensive(calls.echo, 1, memory=total + 1)
        assert caught.value.numbers == {"asked": total + 1, "limit": total}
        first = asyncio.create_task(
            executors.run_cpu_intensive(calls.tell_and_wait, bell.path, gate.path, memory=total // 2 + 1)
        )
        second = asyncio.create_task(executors.run_cpu_intensive(calls.echo, 2, memory=total // 2 + 2))
        await bell.heard()
        await settled(executors)
        stats = executors.stats()["cpu"]
        assert (stats.active, stats.queued) == (1, 1)
        gate.say()
        assert isinstance(await first, int)
        assert await second == 2

    story(check, cpu_workers=2)


def test_a_process_is_replaced_when_it_is_spent() -> None:
    async def check(executors: ExecutorManager) -> None:
        async def run(fn: Callable[..., int], *args: Any, **options: Any) -> int:
            return await executors.run_cpu_intensive(fn, *args, **options)

        assert len({await run(calls.pid) for _ in range(9)}) == 3
        small, large = await run(calls.pid, memory="64MiB"), await run(calls.pid, memory="96MiB")
        assert small != large
        child = await run(calls.leave_a_child)
        assert await run(calls.pid) != child
        full = await run(calls.keep_memory, 80)
        assert await run(calls.pid) != full

    story(check, calls_per_process=3)


def test_closing_lets_what_runs_finish_and_starts_nothing_more(bell: Pipe, gate: Pipe) -> None:
    async def tell() -> None:
        executors = await ExecutorManager(cpu_workers=1, memory="128MiB").start()
        running = asyncio.create_task(executors.run_cpu_intensive(calls.tell_and_wait, bell.path, gate.path))
        await bell.heard()
        queued = asyncio.create_task(executors.run_cpu_intensive(calls.pair, 1, right=2))
        await settled(executors)
        assert executors.stats()["cpu"].queued == 1
        closing = asyncio.create_task(executors.close(grace_s=30.0))
        with pytest.raises(ExecutorStopped, match="has not begun, and can be run again") as caught:
            await queued
        assert caught.value.code == "not_started"
        gate.say()
        assert isinstance(await running, int)
        [left] = await closing
        assert (left.executor, left.fn, left.args, left.kwargs, left.begun) == (
            "cpu", calls.pair, (1,), {"right": 2}, False,
        )  # fmt: skip
        with pytest.raises(ExecutorStopped, match="not open"):
            await executors.run_cpu_intensive(calls.echo, 1)
        with pytest.raises(ExecutorStopped, match="not open"):
            await executors.run_io_intensive(calls.echo, 1)
        assert await executors.close() == []

    asyncio.run(tell())


def test_what_outlasts_the_grace_is_ended_and_reported(bell: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    async def tell() -> None:
        executors = await ExecutorManager(cpu_workers=1, memory="128MiB").start()
        blocked = Blocked()
        cpu = asyncio.create_task(executors.run_cpu_intensive(calls.tell_and_stay, bell.path))
        io = asyncio.create_task(executors.run_io_intensive(blocked))
        [pid] = await bell.heard()
        await blocked.begun()
        left = await executors.close(grace_s=0.05)
        assert {(one.executor, one.fn, one.begun) for one in left} == {
            ("cpu", calls.tell_and_stay, True), ("io", blocked, True),
        }  # fmt: skip
        for task, said in ((cpu, "was ended after"), (io, "Its thread goes on unheard")):
            with pytest.raises(ExecutorStopped, match=said) as caught:
                await task
            assert caught.value.code == "stopped"
        assert gone(pid)
        blocked.let_go()

    asyncio.run(tell())
    assert "2 calls did not finish before the executors were closed" in caplog.text


def test_blocking_functions_run_in_threads_with_the_callers_context() -> None:
    async def check(executors: ExecutorManager) -> None:
        context_name.set("mine")
        assert await executors.run_io_intensive(context_name.get) == "mine"
        assert await executors.run_io_intensive(calls.add, 1, 2, more=3) == 6
        assert await executors.run_io_intensive(os.getpid) == os.getpid()
        with pytest.raises(ZeroDivisionError):
            await executors.run_io_intensive(divmod, 1, 0)
        blocked = Blocked()
        running = [asyncio.create_task(executors.run_io_intensive(blocked)) for _ in range(2)]
        for _ in running:
            await blocked.begun()
        queued = [asyncio.create_task(executors.run_io_intensive(os.getpid)) for _ in range(3)]
        await settled(executors)
        stats = executors.stats()["io"]
        assert (stats.active, stats.queued) == (2, 3)
        queued[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued[0]
        assert executors.stats()["io"].cancelled == 1
        blocked.let_go()
        assert await asyncio.gather(*running) == [True, True]
        assert len(await asyncio.gather(*queued[1:])) == 2
        stats = executors.stats()["io"]
        assert (stats.size, stats.completed, stats.failed, stats.cancelled) == (2, 7, 1, 1)

    story(check, io_threads=2)


def test_one_is_open_in_a_process_at_a_time() -> None:
    async def check(executors: ExecutorManager) -> None:
        assert ExecutorManager.current() is executors
        with pytest.raises(Conflict, match=r"ExecutorManager\.current"):
            await ExecutorManager(cpu_workers=1).start()
        with pytest.raises(InvalidInput, match="cannot be opened in a process of another one"):
            await executors.run_cpu_intensive(calls.open_another)

    story(check)
    with pytest.raises(Unavailable, match="No ExecutorManager is open"):
        ExecutorManager.current()


def test_a_rung_that_does_not_work_is_refused_at_the_start() -> None:
    missing = {"cgroup1", "cgroup2"} - {str(rung) for rung in rungs_to_try()}

    async def tell(rung: str) -> None:
        with pytest.raises(SettingError):
            await ExecutorManager(cpu_workers=1, enforcement=rung).start()
        with pytest.raises(Unavailable):
            ExecutorManager.current()

    for rung in ("none such", *missing):
        asyncio.run(tell(rung))


def test_it_serves_loops_in_other_threads_and_in_debug_mode() -> None:
    async def check(executors: ExecutorManager) -> None:
        def elsewhere() -> int:
            return asyncio.run(executors.run_cpu_intensive(calls.add, 20, 1), debug=True)

        assert await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(4))) == [21] * 4

    story(check)


def test_it_serves_uvloop() -> None:
    import uvloop

    async def tell() -> None:
        async with opened() as executors:
            assert await executors.run_cpu_intensive(calls.add, 1, 1) == 2
            assert await executors.run_io_intensive(calls.add, 1, 1) == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(tell())


def test_figures_for_prometheus_are_those_of_stats() -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    async def check(executors: ExecutorManager) -> None:
        registry = CollectorRegistry()
        registry.register(executors.collector())
        await executors.run_cpu_intensive(calls.echo, 1)
        with pytest.raises(ZeroDivisionError):
            await executors.run_io_intensive(divmod, 1, 0)
        text = generate_latest(registry).decode()
        assert 'tidegate_executor_size{executor="cpu"} 1.0' in text
        assert 'tidegate_executor_calls_total{executor="cpu",outcome="completed"} 1.0' in text
        assert 'tidegate_executor_calls_total{executor="io",outcome="failed"} 1.0' in text

    story(check)
