"""Asking a server how it stands: a bundle of small requests side by side, each sent once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from tidegate.client import calls
from tidegate.client.aio import AsyncClient
from tidegate.client.call import Call
from tidegate.client.shapes import Page, instant
from tidegate.errors import AccessDenied, Busy, ServerUnreachable, TidegateError, Unavailable
from tidegate.ui.tui.picture import Jobs, Picture

T = TypeVar("T")

READ_S = 10.0
"""How long an answer may take before the server counts as away."""
SELDOM_S = 10.0
"""Health, alerts and the like change seldom, so they are asked for no more often."""
MOST_JOBS = 200
_OFTEN = ("system", "workers", "queues", "pressure", "running", "waiting")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are asked for: those of a `queue`, `kind` or `owner` by the server; `words` are looked for in its answer."""

    text: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Filter:
        """From `queue:etl owner:ann rain`."""
        asked: dict[str, str] = {}
        words = []
        for term in text.split():
            name, colon, value = term.partition(":")
            if colon and value and name in ("queue", "kind", "owner"):
                asked[name] = value
            else:
                words.append(term.casefold())
        return cls(" ".join(text.split()), asked, tuple(words))

    def takes(self, job: Mapping[str, Any]) -> bool:
        """Whether all words occur in what the job is called."""
        names = (job.get(name) for name in ("job_id", "name", "kind", "owner", "queue"))
        text = " ".join(str(name) for name in names if name).casefold()
        return all(word in text for word in self.words)


ALL_JOBS = Filter()


class Watcher:
    """Takes pictures of one server. `clock` tells monotonic seconds."""

    def __init__(self, client: AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self.filter = ALL_JOBS
        self._clock = clock
        self._asked_seldom_at: float | None = None
        self._last: Picture | None = None
        self._let_in = False

    async def look(self) -> Picture:
        """Ask for everything that is due. A part that is not had says why in the picture.

        Raises ServerUnreachable, Busy or Unavailable when nothing can be had now, AccessDenied when the key opens nothing.
        """
        seldom = (
            not self._let_in
            or self._asked_seldom_at is None
            or self._clock() - self._asked_seldom_at >= SELDOM_S
        )
        asked = [(name, call) for name, call in self._calls().items() if seldom or name in _OFTEN]
        answers = await self._answers([call for _, call in asked])
        self._let_in = not any(_refuses_key(answer) for answer in answers)
        _raise_if_away(answers)
        self._last = self._picture([name for name, _ in asked], answers)
        if seldom:
            self._asked_seldom_at = self._clock()
        return self._last

    def forget(self) -> None:
        """The next picture has everything anew: something was changed, or another server may have taken over."""
        self._asked_seldom_at = None

    async def _answers(self, asked: Sequence[Call[Any]]) -> list[Any]:
        """Of all side by side; of the first alone, when the key opens nothing: a server counts each wrong one it is shown."""
        alone = 0 if self._let_in else 1
        answers = await self._sent(asked[:alone])
        if any(isinstance(answer, AccessDenied | ServerUnreachable) for answer in answers):
            return answers
        return answers + await self._sent(asked[alone:])

    async def _sent(self, asked: Sequence[Call[Any]]) -> list[Any]:
        return await asyncio.gather(*(self.client.send(once(call)) for call in asked), return_exceptions=True)

    def _calls(self) -> dict[str, Call[Any]]:
        wanted = self.filter.asked
        return {
            "whoami": calls.keys.whoami(),
            "system": calls.health.system(),
            "workers": calls.workers.page(limit=MOST_JOBS),
            "queues": calls.queues.page(limit=MOST_JOBS),
            "pressure": calls.pressure.now(),
            "running": calls.jobs.page(status="RUNNING", order="oldest", limit=MOST_JOBS, **wanted),
            "waiting": calls.jobs.page(status="QUEUED", order="oldest", limit=MOST_JOBS, **wanted),
            "mode": calls.recovery.safe_mode(),
            "ready": calls.health.ready(),
            "health": calls.health.workers(),
            "alerts": calls.alerts.page(state="active"),
        }

    def _picture(self, names: Sequence[str], answers: Sequence[Any]) -> Picture:
        before = self._last or Picture(self.client.url, datetime.now(UTC))
        parts, missing = dict(before.parts), dict(before.missing)
        late: dict[str, str] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Busy | Unavailable):
                late[name] = answer.message
                continue
            parts.pop(name, None)
            missing.pop(name, None)
            if isinstance(answer, TidegateError):
                missing[name] = answer.message
            else:
                parts[name] = self._read(name, answer)
        told = instant((parts.get("system") or {}).get("timestamp"))
        fresh = told if "system" in names and "system" not in late else None
        return Picture(self.client.url, fresh or datetime.now(UTC), parts, missing, late)

    def _read(self, name: str, answer: Any) -> Any:
        if not isinstance(answer, Page):
            return answer
        items = answer.items
        if name in ("running", "waiting"):
            items = tuple(job for job in items if self.filter.takes(job))
        return Jobs(items, answer.next_cursor is not None)


def once(call: Call[T]) -> Call[T]:
    """The call without tries of the client's own: who watches comes again anyway, later when the server is away or busy."""
    return replace(call, repeatable=False, read_timeout_s=READ_S)


def _raise_if_away(answers: Iterable[Any]) -> None:
    """Raise what stands for all: a server that is away, a key that opens nothing, or answers of which none can be shown."""
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if not isinstance(error, TidegateError) or isinstance(error, ServerUnreachable):
            raise error
        if _refuses_key(error):
            raise error
    if errors and len(errors) == len(list(answers)):
        raise errors[0]


def _refuses_key(answer: object) -> bool:
    return isinstance(answer, AccessDenied) and (answer.problem or {}).get("status") == 401
