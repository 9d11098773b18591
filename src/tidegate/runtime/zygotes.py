"""The zygote of a server, and the next one when it has died: started, waited for, asked to fork, to sweep, and to leave."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tidegate.errors import SettingError, Unavailable
from tidegate.runtime.on_demand import OnDemand
from tidegate.runtime.sandbox_messages import Rungs, rungs_of
from tidegate.runtime.slot import Slot
from tidegate.runtime.zygote_process import ZygoteProcess

__all__ = ["Hears", "Zygotes"]

log = logging.getLogger("tidegate.sandbox")

_READY_WITHIN_S = 60.0
SWEPT_WITHIN_S = 30.0


class Hears(Protocol):
    """Whoever has keepers."""

    def keeper_gone(self, number: int, *, clean: bool) -> None:
        """The zygote has ended what a dead keeper left; `clean`: nothing of it is left."""
        ...

    def zygote_died(self, what: str) -> None:
        """By itself, or because it stood still."""
        ...

    def swept(self) -> None:
        """Nothing is left of anybody who came before this zygote."""
        ...


class Zygotes:
    """There is one at a time, and it may be gone at any time: what it forked belongs to it alone."""

    def __init__(
        self,
        config: Mapping[str, Any],
        environment: Mapping[str, str],
        on_demand: OnDemand,
        selector: selectors.BaseSelector,
        answers_within_s: float,
        hears: Hears,
    ) -> None:
        """One that owes an answer for `answers_within_s` stands still."""
        self._config = config
        self._environment = environment
        self._on_demand = on_demand
        self._selector = selector
        self._answers_within_s = answers_within_s
        self._hears = hears
        self._retiring: list[ZygoteProcess] = []
        self._swept: Mapping[str, Any] | None = None
        self.current: ZygoteProcess | None = None
        self.rungs: Rungs | None = None
        """What it has found; None while there is none that is ready."""
        self.warnings: list[str] = []
        """What it could not load."""

    def open(self) -> ZygoteProcess:
        """The one that there is, or a new one, once it is warm. Raises SettingError when the rung asked for does not work."""
        if self.current is not None:
            return self.current
        zygote = self._start()
        self._wait_for(lambda: self.rungs is not None or self.current is None, _READY_WITHIN_S)
        if self.rungs is None:
            self.stop()
            raise Unavailable("The sandbox's zygote did not become ready.")
        return zygote

    def _start(self) -> ZygoteProcess:
        self.rungs = None
        self._on_demand.begin_anew()
        self.current = zygote = ZygoteProcess(self._config, self._environment)
        self._selector.register(zygote.channel.fileno(), selectors.EVENT_READ, self._on_message)
        return zygote

    def fork_keeper(self, number: int, modules: frozenset[str]) -> Slot:
        """A new keeper that has loaded these too. It need not be waited for."""
        zygote = self.open()
        self._on_demand.load(modules, zygote)
        return Slot(number, zygote.fork_keeper(number), zygote, self._on_demand.loaded)

    def kill_keeper(self, number: int) -> None:
        if self.current is not None:
            self.current.channel.send({"do": "kill", "number": number})

    def begin_sweep(self) -> None:
        """End what earlier servers of this instance left. When all of it is gone, `swept` is heard."""
        self._swept = None
        self.open().channel.send({"do": "sweep"})

    def sweep(self) -> tuple[int, int]:
        """The same, waiting for it: how many processes and groups there were. Raises Unavailable when some are left."""
        zygote = self.open()
        self.begin_sweep()
        self._wait_for(lambda: self._swept is not None or self.current is not zygote, SWEPT_WITHIN_S)
        swept = self._answer_of_sweep()
        if not swept.get("clean"):
            raise Unavailable("Processes of an earlier server of this instance could not be ended.")
        return int(swept["processes"]), int(swept["groups"])

    def _answer_of_sweep(self) -> Mapping[str, Any]:
        return self._swept or {}

    def must_answer_at(self) -> float:
        return float("inf") if self.current is None else self.current.owes_since() + self._answers_within_s

    def end_standstill(self, now: float) -> None:
        if self.current is not None and now >= self.must_answer_at():
            self.current.end_standstill()

    def stop(self) -> None:
        """Hang up and wait; it ends everything below it before it leaves."""
        self._forget()
        for zygote in self._retiring:
            zygote.wait()
        self._retiring.clear()

    def _forget(self) -> None:
        if self.current is not None:
            self._selector.unregister(self.current.channel.fileno())
            self.current.channel.close()
            self._retiring.append(self.current)
        self.current = None

    def _on_message(self) -> None:
        assert self.current is not None
        for message in self.current.channel.receive():
            self._heard(message)
        if self.current.channel.closed:
            self._died()

    def _heard(self, message: Mapping[str, Any]) -> None:
        assert self.current is not None
        match message["is"]:
            case "ready":
                self.rungs = rungs_of(message)
            case "forked":
                self.current.answered(message["number"])
            case "gone":
                self.current.answered(message["number"])
                self._hears.keeper_gone(message["number"], clean=message["clean"])
            case "swept":
                self._swept = message
                if message["clean"]:
                    self._hears.swept()
            case "warning":
                self.warnings.append(message["message"])
                log.warning("The process that forks attempts could not load a module: %s", message["message"])
            case "failed":
                error = SettingError if message["code"] == SettingError.code else Unavailable
                self.stop()
                raise error(message["message"])

    def _died(self) -> None:
        what = "The process that forks attempts has ended by itself"
        if self.current is not None and self.current.stood_still:
            what = f"The process that forks attempts did not answer within {self._answers_within_s:g} s and was killed"
        self._forget()
        self._hears.zygote_died(what)

    def _wait_for(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Until the condition holds or the time is over; what the selector brings meanwhile is heard."""
        until = time.monotonic() + timeout_s
        while not condition() and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if callable(key.data):
                    key.data()
