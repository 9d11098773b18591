"""Whoever waits: for the end of a job, for its next event, for the next line that it prints.

The bell tells of changes and may lose a ring, so everybody here also looks by himself from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from tidegate.core.job import AttemptKey
from tidegate.ports import Bell, Clock, Event, JobRecord, Store
from tidegate.server.loops import tell
from tidegate.server.output import OutputFollower, Printed
from tidegate.server.threads import Run

PROGRESS_EVENT = "progress"
EVENTS_AT_ONCE = 1000
LOOK_AGAIN_S = 5.0
"""A ring may be lost; whoever waits looks by himself after this."""


class Following:
    """Follows jobs. For one event loop; `progress` tells the share of a job that is done."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        clock: Clock,
        run: Run,
        *,
        logs: Path,
        progress: Callable[[JobRecord], float | None],
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._store = store
        self._bell = bell
        self._clock = clock
        self._run = run
        self._logs = logs
        self._progress = progress
        self._look_again_s = look_again_s

    async def wait(self, job_id: int, timeout_s: float) -> JobRecord:
        """The job once it is final, or as it is when the time is over. Raises NotFound."""
        deadline = self._clock.monotonic() + timeout_s
        changed, end = self._listen(job_id)
        try:
            while True:
                changed.clear()
                job = await self._run(self._store.job, job_id)
                left_s = deadline - self._clock.monotonic()
                if job.status.final or left_s <= 0:
                    return job
                await _set_within(changed, min(left_s, self._look_again_s))
        finally:
            end()

    async def follow(self, job_id: int, after: int = 0) -> AsyncIterator[Event]:
        """The job's events after the given id, then each new one as it comes; ends after the final one.

        Progress comes as events of type `progress` with the id 0: live only, not kept.
        """
        changed, end = self._listen(job_id)
        share: float | None = None
        try:
            while True:
                changed.clear()
                async for event in self._events(job_id, after):
                    after = event.id
                    yield event
                job = await self._run(self._store.job, job_id)
                if job.status.final:
                    async for event in self._events(job_id, after):
                        yield event
                    return
                if (now_at := self._progress(job)) is not None and now_at != share:
                    share = now_at
                    yield self._progress_event(job_id, share)
                await _set_within(changed, self._look_again_s)
        finally:
            end()

    async def _events(self, job_id: int, after: int) -> AsyncIterator[Event]:
        """All events behind the given id that are there by now, however many."""
        while found := await self._run(self._store.events, job_id, after=after, limit=EVENTS_AT_ONCE):
            for event in found:
                yield event
            if len(found) < EVENTS_AT_ONCE:
                return
            after = found[-1].id

    async def output(
        self, job_id: int, task: int, attempt: int | None = None, offset: int = 0, *, only: bool = False
    ) -> AsyncGenerator[Printed, None]:
        """What a task prints, live; see `OutputFollower.follow`."""
        changed, end = self._listen(job_id)
        follower = OutputFollower(self._store, self._run, self._log_path, changed)
        try:
            async with contextlib.aclosing(
                follower.follow(job_id, task, attempt, offset, only=only)
            ) as parts:
                async for part in parts:
                    yield part
        finally:
            end()

    def log_of(self, key: AttemptKey) -> Path | None:
        """The output of an attempt so far; None when it has printed nothing."""
        path = self._log_path(key)
        return path if path.is_file() else None

    def _log_path(self, key: AttemptKey) -> Path:
        return self._logs / str(key.job_id) / f"{key.number}.{key.attempt}.log"

    def _listen(self, job_id: int) -> tuple[asyncio.Event, Callable[[], None]]:
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        return changed, self._bell.subscribe(f"job:{job_id}", lambda: tell(loop, changed.set))

    def _progress_event(self, job_id: int, share: float) -> Event:
        return Event(
            0, job_id, None, self._clock.now(), PROGRESS_EVENT, f"{share:.0%} done.", {"progress": share}
        )


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
