"""The memory that request bodies may take in all, so that many large ones at once cannot fill the machine."""

from __future__ import annotations

from starlette.types import Scope

from tidegate.api.problems import Refusal
from tidegate.core.resources import MIB, format_bytes

BODIES_BYTES = 256 * MIB
"""Half of the memory that is kept for system and service at least (`headroom_memory`)."""
UNCOUNTED_BYTES = 64 * 1024
"""A body up to this size is taken at any time: ordinary submissions do not wait for large ones."""
VALUE_BYTES = 128
"""What a JSON value takes as an object, more or less: 64 to 72 bytes an empty list or object, 232 one of one member."""
_COPIES = 2
"""A body is held as bytes or pieces of it, and as text."""
_AGAIN_S = 2.0


class BodyBudget:
    """Counts the bytes that bodies take, from their arrival until their request is answered. For one event loop."""

    def __init__(self, total_bytes: int = BODIES_BYTES) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0

    def look_ahead(self, body_bytes: int) -> None:
        """Raise what `take` would, before a body of this size has come."""
        if body_bytes > UNCOUNTED_BYTES:
            self._check(0, _COPIES * body_bytes)

    def take_body(self, scope: Scope, body_bytes: int) -> None:
        """Count so many bytes of a body as held for this request. Raises `too_many_bytes`, `too_large`."""
        self._take(scope, _COPIES * body_bytes)

    def take_values(self, scope: Scope, text: str) -> None:
        """Count the objects that this piece of JSON becomes. Raises `too_many_bytes`, `too_large`."""
        values = text.count("[") + text.count("{") + text.count(",")
        self._take(scope, VALUE_BYTES * values)

    def release(self, scope: Scope) -> None:
        """The request is answered: all that was counted for it is free."""
        self.used_bytes -= scope.pop("body_bytes", 0)

    def _take(self, scope: Scope, more_bytes: int) -> None:
        held = scope.get("body_bytes", 0)
        self._check(held, more_bytes)
        scope["body_bytes"] = held + more_bytes
        self.used_bytes += more_bytes

    def _check(self, held_bytes: int, more_bytes: int) -> None:
        asked = held_bytes + more_bytes
        if asked > self.total_bytes:
            raise Refusal(
                "too_large",
                f"The body would take at least {format_bytes(asked)} of memory; all bodies together may take "
                f"{format_bytes(self.total_bytes)}. Send it in several requests.",
                numbers={"asked": asked, "limit": self.total_bytes},
            )
        if self.used_bytes + more_bytes > self.total_bytes:
            raise Refusal(
                "too_many_bytes",
                f"The bodies of all requests take {format_bytes(self.used_bytes)} of memory now, and this one at least "
                f"{format_bytes(asked)}; at most {format_bytes(self.total_bytes)} are given to them. Try again in "
                f"{_AGAIN_S:g} s, or send less at a time.",
                numbers={"asked": asked, "limit": self.total_bytes, "retry_after_s": _AGAIN_S},
            )
