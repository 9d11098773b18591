"""The pool of warm processes: one thread that gives waiting calls to processes, and hears what becomes of them.

Each process is one long attempt of the sandbox, so its limits, its end and the proof that nothing of it is left are those of
jobs. A call goes to a process with just its memory limit, or a new one is forked. A process is replaced after so many calls,
when it keeps too much memory, when a call has left processes behind, and after any trouble.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tidegate.core.job import AttemptKey
from tidegate.core.states import ExitReason
from tidegate.errors import ExecutorMemoryLimit, ExecutorStopped, TidegateError, Unavailable
from tidegate.runtime.executors import verdicts
from tidegate.runtime.executors.calls import Call, Counts, Unfinished, not_started
from tidegate.runtime.executors.process import Ending, Process
from tidegate.runtime.executors.wire import Frame
from tidegate.runtime.sandbox import SandboxEnd, Sandboxes, SandboxEvent, SandboxGone
from tidegate.runtime.wakeup import WakeUp

log = logging.getLogger("tidegate.executors")

_LOOK_AGAIN_S = 60.0
_IDLE_KEPT_S = 60.0
"""How long a process waits for another call before it is let go; one always stays."""
_KEPT_SHARE = 0.5
"""Of its limit: a process that keeps more between calls would leave the next one too little."""
_MOST_LOST = 3
"""How often a call is given to another process after one died before it began the call."""


class PoolRules(NamedTuple):
    """`size` processes at once, for calls that together may ask for `memory_bytes`; each serves at most so many calls."""

    size: int
    memory_bytes: int
    calls_per_process: int


class ProcessPool:
    """Other threads only put calls and cancels into its box. Its own thread owns the sandboxes and all processes."""

    def __init__(
        self, sandboxes: Sandboxes, rules: PoolRules, root: Path, spec: Callable[[], dict[str, Any]]
    ) -> None:
        """`spec` tells what a new process must know of the application: its folder, its module path."""
        self._sandboxes = sandboxes
        self._rules = rules
        self._root = root
        self._spec = spec
        self._lock = threading.Lock()
        self._left = False
        self._box: deque[Callable[[], None]] = deque()
        self._wake = WakeUp()
        self._waiting: deque[Call] = deque()
        self._processes: dict[AttemptKey, Process] = {}
        self._unproven: dict[AttemptKey, Process] = {}
        self._next = 1
        self._completed = self._failed = self._cancelled = 0
        self._unfinished: list[Unfinished] = []
        self._closing = False
        self._stop_at: float | None = None
        self._fault: TidegateError | None = None
        self._zygote: list[int] = []
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-executors", daemon=True)

    # For any thread

    def open(self) -> None:
        """Start, and wait until processes can be forked. Raises SettingError and Unavailable."""
        self._thread.start()
        self._opened.wait()
        if self._fault is not None:
            raise self._fault

    def submit(self, call: Call) -> None:
        """Run a call when it is its turn; `call.finish` hears what became of it."""
        self._post(lambda: self._accept(call))

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more: it does not start, or its processes are ended."""
        self._post(lambda: self._abandon(call))

    def close(self, grace_s: float) -> list[Unfinished]:
        """Start nothing more, let what runs finish for a while, end the rest. Waits until nothing is left.

        Answers what was cut off.
        """
        self._post(lambda: self._begin_to_close(grace_s))
        self._thread.join()
        return list(self._unfinished)

    def counts(self) -> Counts:
        active = sum(process.call is not None for process in list(self._processes.values()))
        return Counts(active, len(self._waiting), self._completed, self._failed, self._cancelled)

    def _post(self, order: Callable[[], None]) -> None:
        with self._lock:
            if not self._left:
                self._box.append(order)
                self._wake.set()
                return
        order()  # the thread is gone, and every order now ends its call

    # For its own thread

    def _run(self) -> None:
        try:
            self._sandboxes.selector.register(self._wake.fileno(), selectors.EVENT_READ, self._wake.clear)
            self._sandboxes.open()
            self._zygote = self._sandboxes.processes()[:1]
            self._opened.set()
            while not self._done():
                self._turn()
        except TidegateError as error:
            self._fault = error
        except BaseException as error:
            log.exception("the executors' thread failed")
            self._fault = Unavailable(f"The executors failed: {type(error).__name__}: {error}")
        finally:
            self._leave()

    def _done(self) -> bool:
        return self._closing and not self._box and not self._processes

    def _turn(self) -> None:
        for event in self._sandboxes.poll(self._patience_s()):
            self._hear(event)
        while self._box:
            self._box.popleft()()
        self._watch_time(time.monotonic())
        if not self._closing:
            self._start_calls()

    def _leave(self) -> None:
        """Nothing more can be done for anybody."""
        self._closing = True
        fault = self._fault or ExecutorStopped("The executors were closed before the call was done.")
        with self._lock:
            self._left = True
        while self._box:
            self._box.popleft()()
        for process in self._processes.values():
            if process.call is not None:
                self._fail(process.call, fault)
            process.call = None
        for call in self._waiting:
            self._fail(call, fault)
        self._waiting.clear()
        self._close_sandboxes()
        for process in (*self._processes.values(), *self._unproven.values()):
            process.remove()
        self._processes.clear()
        self._wake.close()
        self._opened.set()

    def _close_sandboxes(self) -> None:
        """A zygote that died has left groups behind, which the present one clears up: the instance is ours alone."""
        try:
            if self._fault is None and self._sandboxes.processes()[:1] != self._zygote:
                self._sandboxes.sweep_leftovers()
        except TidegateError as error:
            log.warning("something of the executors may be left: %s", error)
        self._sandboxes.close()

    def _patience_s(self) -> float:
        if self._box:
            return 0.0
        now = time.monotonic()
        times = [process.deadline for process in self._processes.values()]
        times += [self._stop_at, now + _LOOK_AGAIN_S]
        return max(min(at for at in times if at is not None) - now, 0.0)

    # Calls

    def _accept(self, call: Call) -> None:
        if self._closing or self._fault is not None:
            self._fail(call, self._fault or not_started(call.fn))
            return
        self._waiting.append(call)

    def _abandon(self, call: Call) -> None:
        call.abandoned = True
        if call in self._waiting:
            self._waiting.remove(call)
            self._cancelled += 1
            return
        for process in self._processes.values():
            if process.call is call and process.ending is None:
                self._end(process, Ending.ABANDONED)

    def _start_calls(self) -> None:
        """In the order in which they came: the first that finds no room holds up those behind it."""
        while self._waiting:
            call = self._waiting[0]
            process = self._process_for(call) if self._has_memory(call) else None
            if process is None:
                return
            self._waiting.popleft()
            process.give(call)
            self._watch_line(process)

    def _has_memory(self, call: Call) -> bool:
        asked = sum(process.memory_bytes for process in self._processes.values() if process.call is not None)
        return asked + call.memory_bytes <= self._rules.memory_bytes

    def _process_for(self, call: Call) -> Process | None:
        idle = [process for process in self._processes.values() if process.idle]
        for process in reversed(idle):
            if process.memory_bytes == call.memory_bytes:
                return process
        if len(self._processes) + len(self._unproven) < self._rules.size:
            return self._fork(call.memory_bytes)
        if idle:  # its place is free when it is gone
            self._end(idle[0], Ending.RENEWED)
        return None

    def _fail(self, call: Call, error: BaseException) -> None:
        self._conclude(call, None, error)

    def _conclude(self, call: Call, value: Any, error: BaseException | None) -> None:
        """Tell whoever waits, and count."""
        if call.abandoned:
            self._cancelled += 1
            return
        self._failed += error is not None
        self._completed += error is None
        call.finish(value, error)

    # Processes

    def _fork(self, memory_bytes: int) -> Process:
        process = Process(self._next, memory_bytes, self._root)
        self._next += 1
        self._processes[process.key] = process
        assert process.listener is not None
        self._sandboxes.selector.register(
            process.listener.fileno(), selectors.EVENT_READ, lambda: self._on_arrival(process)
        )
        self._sandboxes.start(process.order(self._spec()))
        return process

    def _on_arrival(self, process: Process) -> None:
        listener = process.listener
        if listener is None:
            return
        self._sandboxes.selector.unregister(listener.fileno())
        if not process.answered():
            return
        assert process.line is not None
        self._sandboxes.selector.register(
            process.line.fileno(), selectors.EVENT_READ, lambda: self._on_line(process)
        )
        if process.ending is not None or process.call is None:
            self._hang_up(process)
            return
        process.send()
        self._watch_line(process)

    def _watch_line(self, process: Process) -> None:
        """Look at writability only while something could not be sent at once."""
        line = process.line
        if line is None or line.fileno() < 0:
            return
        wanted = selectors.EVENT_READ | selectors.EVENT_WRITE * line.wants_write
        key = self._sandboxes.selector.get_key(line.fileno())
        if key.events != wanted:
            self._sandboxes.selector.modify(line.fileno(), wanted, key.data)

    def _on_line(self, process: Process) -> None:
        line = process.line
        if line is None or line.fileno() < 0:
            return
        line.flush()
        while (frame := line.receive()) is not None:
            self._answered(process, frame)
        if line.closed:
            self._hang_up(process)
        else:
            self._watch_line(process)

    def _answered(self, process: Process, frame: Frame) -> None:
        call, process.call = process.call, None
        if call is None or call.number != frame.number:
            return
        value, error = verdicts.answer(call, frame, self._sandboxes.rungs.in_use)
        self._conclude(call, value, error)
        process.idle_since = time.monotonic()
        if process.ending is None and (self._spent(process, frame) or isinstance(error, ExecutorMemoryLimit)):
            self._end(process, Ending.RENEWED)

    def _spent(self, process: Process, frame: Frame) -> bool:
        return (
            self._closing
            or process.calls >= self._rules.calls_per_process
            or frame.kept_bytes > _KEPT_SHARE * process.memory_bytes
        )

    def _end(self, process: Process, why: Ending) -> None:
        """Have it end: by itself when it waits for a call, else by force."""
        process.ending = why
        if why is Ending.RENEWED and process.call is None:
            self._hang_up(process)
        else:
            self._sandboxes.cancel(process.key, ExitReason.CANCELLED, why.value)

    def _hang_up(self, process: Process) -> None:
        line = process.line
        if line is not None and line.fileno() >= 0:
            self._sandboxes.selector.unregister(line.fileno())
            line.close()

    def _hear(self, event: SandboxEvent) -> None:
        if isinstance(event, SandboxEnd) and event.key in self._processes:
            self._ended(self._processes[event.key], event)
        if isinstance(event, SandboxGone) and event.key in self._unproven:
            self._unproven.pop(event.key).remove()

    def _ended(self, process: Process, end: SandboxEnd) -> None:
        self._on_line(process)  # its last answer may still be on the way
        self._hang_up(process)
        if process.listener is not None:
            self._sandboxes.selector.unregister(process.listener.fileno())
        call, process.call = process.call, None
        del self._processes[process.key]
        if call is not None:
            self._lost(process, call, end)
        if end.tree_gone:
            process.remove()
        else:
            self._unproven[process.key] = process

    def _lost(self, process: Process, call: Call, end: SandboxEnd) -> None:
        """Its process has ended: the call failed, unless it had not begun."""
        begun = process.has_begun(call)
        if process.ending is Ending.STOPPED:
            self._cut_off(call, begun=begun)
        elif process.ending is Ending.TIME_LIMIT:
            self._fail(call, verdicts.time_limit(call))
        elif begun or call.abandoned:
            self._fail(call, verdicts.died(end, call))
        elif call.lost < _MOST_LOST and not self._closing:
            call.lost += 1
            call.started_at = None
            self._waiting.appendleft(call)
        else:
            self._fail(call, verdicts.never_begun(end, call))

    # Time

    def _watch_time(self, now: float) -> None:
        for process in list(self._processes.values()):
            if process.deadline is not None and now >= process.deadline:
                self._end(process, Ending.TIME_LIMIT)
        if self._stop_at is not None and now >= self._stop_at:
            self._stop_all()
        self._trim(now)

    def _trim(self, now: float) -> None:
        idle = [process for process in self._processes.values() if process.idle]
        for process in idle[: len(self._processes) - 1]:
            if process.idle_since is not None and now - process.idle_since >= _IDLE_KEPT_S:
                self._end(process, Ending.RENEWED)

    # The end

    def _begin_to_close(self, grace_s: float) -> None:
        self._closing = True
        self._stop_at = time.monotonic() + grace_s
        while self._waiting:
            self._cut_off(self._waiting.popleft(), begun=False)
        for process in list(self._processes.values()):
            if process.idle:
                self._end(process, Ending.RENEWED)

    def _cut_off(self, call: Call, *, begun: bool) -> None:
        if not call.abandoned:
            self._unfinished.append(Unfinished("cpu", call.fn, call.args, call.kwargs, begun))
        self._fail(call, verdicts.stopped(call) if begun else not_started(call.fn))

    def _stop_all(self) -> None:
        self._stop_at = None
        for process in self._processes.values():
            self._end(process, process.ending or Ending.STOPPED)
            self._sandboxes.cancel(process.key, ExitReason.CANCELLED, "The executors were closed.")
