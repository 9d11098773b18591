"""One request as a value, with the reader of its answer.

A call says what to send and how to read what comes back; the connections of both faces carry it out. What can be asked
stands in `tidegate.client.calls`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tidegate.errors import TidegateError

T = TypeVar("T")

DEFAULT_READ_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: status below 300 or one that the call takes, headers with lower-case names, the body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON. Raises TidegateError when it is none: then it is no Tidegate server that answered."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise TidegateError(
                "The answer is no JSON; is this the address of a Tidegate server?", code="not_tidegate"
            ) from None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the reader of its answer.

    `repeatable`: sending it twice does what sending it once does, so it may be sent again after a broken connection.
    `busy_timeout_s`: how long to come back while the server refuses with 429; 0 raises Busy at once.
    """

    method: str
    path: str
    parse: Callable[[Reply], T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    read_timeout_s: float = DEFAULT_READ_S
    busy_timeout_s: float = 0.0
    also: frozenset[int] = frozenset()
    """Statuses of errors that are answers of this call too, read by `parse`."""
