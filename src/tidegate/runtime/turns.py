"""Whose turn it is in a sandbox: one attempt, or those of a batch one after another."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tidegate.core.job import AttemptKey


class Turn(NamedTuple):
    """An attempt, as the keeper lets it run."""

    key: AttemptKey
    spec: Mapping[str, Any]
    timeout_s: float
    log_path: str


def turns_of(message: Mapping[str, Any]) -> list[Turn]:
    """From an order of the server."""
    own_log = message.get("log") or os.path.join(message["folder"], "log")
    others = message.get("others", ())
    return [
        Turn(AttemptKey(*message["key"]), message["spec"], float(message["timeout_s"]), own_log),
        *(Turn(AttemptKey(*one["key"]), one["spec"], one["timeout_s"], one["log_path"]) for one in others),
    ]


class Turns:
    """Keeps the turns: which attempt runs, since when, and until when it may. The clock is the monotonic one."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._place = 0
        self.began_at = time.monotonic()
        self.told_cpu_s = 0.0
        """CPU seconds of those that have had their turn."""

    @property
    def current(self) -> Turn:
        return self._turns[self._place]

    @property
    def due_at(self) -> float:
        """When the one that runs has had its time."""
        return self.began_at + self.current.timeout_s

    @property
    def taken_s(self) -> float:
        return time.monotonic() - self.began_at

    @property
    def unbegun(self) -> list[AttemptKey]:
        return [turn.key for turn in self._turns[self._place + 1 :]]

    def pass_on(self, cpu_s: float) -> None:
        """It is the next one's turn; the one before has used so much."""
        self._place += 1
        self.began_at = time.monotonic()
        self.told_cpu_s += cpu_s
