"""What attempts print, followed while it is printed.

The worker writes an attempt's output into a file that only grows. Nobody tells of each line, so followers look at the file's
end a few times a second; whether an attempt has ended they are told by the bell.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidegate.core.job import AttemptKey
from tidegate.ports import JobStore, TaskRecord

PART_BYTES = 64 * 1024
"""Most bytes of one part."""
_LOOK_S = 0.2
"""Between two looks at a file that does not grow."""
_ASK_AGAIN_S = 5.0
"""A ring may be lost; the store is asked again after this."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A part of an attempt's output: the attempt's number, where the part begins in bytes, and its bytes."""

    attempt: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Changes(Protocol):
    """Whether the job may have changed since this was last cleared."""

    def is_set(self) -> bool: ...

    def clear(self) -> None: ...

    async def wait(self) -> object: ...


def read_part(path: Path, offset: int, most: int = PART_BYTES) -> bytes:
    """Bytes of a file from an offset on; none when it is not there. Opened anew each time, as network file systems want it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, most, offset)
    finally:
        os.close(fd)


class OutputFollower:
    """Follows the output of one task: of one attempt, or of the newest one and all that come after it.

    Ends when the attempt has ended, or with all attempts when the task has. Raises NotFound from the store.
    """

    def __init__(
        self,
        store: JobStore,
        run: Callable[..., Awaitable[object]],
        path_of: Callable[[AttemptKey], Path],
        changed: Changes,
    ) -> None:
        self._store = store
        self._run = run
        self._path_of = path_of
        self._changed = changed
        self._ask_at = 0.0
        self._task: TaskRecord | None = None

    async def follow(
        self, job_id: int, task: int, attempt: int | None = None, offset: int = 0, *, only: bool = False
    ) -> AsyncGenerator[Printed, None]:
        """Parts in their order, from byte `offset` of `attempt` on (None: the newest); with `only`, of no other one."""
        number = attempt
        while True:
            record = await self._look(job_id, task)
            known = {each.key.attempt: each for each in record.attempts}
            if number is None and known:
                number = max(known)
            over = record.state.final
            if number is not None and number in known:
                # Asked before it is read: what was printed before the end is in the file by then.
                over = known[number].ended_at is not None
                path = self._path_of(known[number].key)
                while data := await self._run(read_part, path, offset):
                    assert isinstance(data, bytes)
                    yield Printed(number, offset, data)
                    offset += len(data)
                if over and not only and number + 1 in known:
                    number, offset = number + 1, 0
                    continue
            if over and (only or record.state.final):
                return
            await self._pause()

    async def _look(self, job_id: int, task: int) -> TaskRecord:
        now = time.monotonic()
        if self._task is None or self._changed.is_set() or now >= self._ask_at:
            self._changed.clear()
            self._ask_at = now + _ASK_AGAIN_S
            found = await self._run(self._store.tasks, job_id, after=task - 1, limit=1)
            assert isinstance(found, list)
            self._task = found[0]
        assert self._task is not None
        return self._task

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            return
