"""What a runner raises for the end of an attempt that it can explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

TaskReason = Literal["error", "memory_limit", "disk_limit", "time_limit", "cancelled"]


class TaskError(Exception):
    """An attempt failed in a way its user can understand or mend.

    `message` says what failed and what to do, `code` is stable, `reason` is one of the exit reasons that a
    runner can know of, `numbers` holds the figures of the message under names that carry their unit.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: TaskReason = "error",
        numbers: Mapping[str, int | float | str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason: TaskReason = reason
        self.numbers: dict[str, int | float | str] = dict(numbers or {})
