"""One trace from a request to the attempts that came of it, for whoever wants to have it; by default nobody.

What belongs to a trace travels as a text, W3C's `traceparent`: in a request's header, with the spec of a job (`ORIGIN`), into
the sandbox, and from there into programs that a job starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from tidegate.core.job import ORIGIN

__all__ = ["NO_TRACING", "Attributes", "Span", "Tracing", "traceparent_of", "with_traceparent"]

Attributes = Mapping[str, str | int | float]
TRACEPARENT = "traceparent"


class Span(Protocol):
    """Something that takes time, under way."""

    @property
    def context(self) -> str | None:
        """The `traceparent` of what happens below it."""
        ...

    def end(
        self, at: datetime | None = None, attributes: Attributes | None = None, error: str | None = None
    ) -> None:
        """It is over: now, or at this instant. Once."""
        ...


class Tracing(Protocol):
    """Where spans are told to. `on` is false where nobody wants them, so that nothing need be made for them."""

    @property
    def on(self) -> bool: ...

    def begin(self, name: str, parent: str | None, at: datetime | None = None) -> Span:
        """A span that begins now, or began at this instant, below `parent`, or as the first one of a trace."""
        ...

    def close(self) -> None:
        """Send what is not sent yet; for some seconds at most."""
        ...


class _Nothing:
    """A span that nobody wants."""

    context = None

    def end(
        self, at: datetime | None = None, attributes: Attributes | None = None, error: str | None = None
    ) -> None: ...


class _NoTracing:
    on = False

    def begin(self, name: str, parent: str | None, at: datetime | None = None) -> Span:
        return _Nothing()

    def close(self) -> None: ...


NO_TRACING: Tracing = _NoTracing()


def traceparent_of(spec: Mapping[str, Any]) -> str | None:
    """In which trace a job was submitted, if in one."""
    origin = spec.get(ORIGIN)
    found = origin.get(TRACEPARENT) if isinstance(origin, Mapping) else None
    return None if found is None else str(found)


def with_traceparent(spec: Mapping[str, Any], traceparent: str | None) -> Mapping[str, Any]:
    """The spec of a job in which what follows belongs below this."""
    if traceparent is None:
        return spec
    return {**spec, ORIGIN: {**spec.get(ORIGIN, {}), TRACEPARENT: traceparent}}
