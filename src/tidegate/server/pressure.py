"""The pressure on this server and its workers, as people look at it and change its rules. Calls to the store block."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tidegate.core.criticality import Criticality
from tidegate.core.identity import Caller
from tidegate.core.overload import Allowed, refuses
from tidegate.core.pressure import Gauge, Level
from tidegate.core.pressure_rules import PressureRules, rules_from_json
from tidegate.core.readings import Readings, Sample
from tidegate.errors import Busy, TooMuchPressure
from tidegate.ports import ChangedRules, Clock, Overload, Store, WorkerRecord


class NoPressure:
    """An `Overload` of what nobody measures: nothing is felt, all is allowed."""

    watch_only = False

    def level(self) -> Level:
        return Level.NORMAL

    def allowed(self) -> Allowed:
        """All."""
        return Allowed()

    def is_short(self) -> bool:
        return False

    def severity(self) -> float:
        return 0.0

    def readings(self) -> Readings:
        return Readings()

    def history(self, since: datetime) -> Sequence[Sample]:
        return ()

    def rules(self) -> PressureRules:
        return PressureRules()

    def gauge(self) -> Gauge:
        return Gauge()

    def changed_at(self) -> datetime | None:
        return None


class Shed:
    """Whether new work is refused for the pressure. `retry_after_s` tells, from how fast work starts, when to come back."""

    def __init__(
        self,
        overload: Overload,
        retry_after_s: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._overload = overload
        self._retry_after_s = retry_after_s
        self._chance = chance

    def refusal(self, work: Criticality) -> Busy | None:
        """Why work of this class is not taken now; None when it is."""
        allowed, severity = self._overload.allowed(), self._overload.severity()
        if not refuses(allowed, work, severity, self._chance()):
            return None
        level, retry_after_s = self._overload.level(), self._retry_after_s()
        sure = allowed.refuse is not None and work <= allowed.refuse
        share = "all of it is" if sure else f"{100 * severity:.0f} % of it is"
        return TooMuchPressure(
            f"The server is under pressure ({level}), and this job is {work}: {share} refused until that is over. "
            f"Try again in {retry_after_s:g} s, or raise its `priority`.",
            retry_after_s=retry_after_s,
            numbers={
                "level": str(level),
                "criticality": str(work),
                "refused_share": 1.0 if sure else round(severity, 3),
            },
        )


class Pressure:
    """What the API asks and tells. `use` lets rules hold in this process at once; others see them in the store."""

    def __init__(
        self,
        overload: Overload,
        store: Store,
        clock: Clock,
        base: PressureRules | None = None,
        use: Callable[[PressureRules], None] = lambda rules: None,
    ) -> None:
        self.overload = overload
        self._store = store
        self._clock = clock
        self._base = base or PressureRules()
        self._use = use

    def workers(self) -> list[WorkerRecord]:
        """Those that have not left, with their levels."""
        return [record for record in self._store.workers() if record.present]

    def history(self, place: str | None, minutes: int) -> Sequence[tuple[str, Sample]]:
        """A sample a minute of each place, oldest first."""
        now = self._clock.now()
        return self._store.samples(place, now - timedelta(minutes=minutes), now + timedelta(minutes=1))

    def changed(self) -> ChangedRules | None:
        """What an operator has changed of the rules of the settings."""
        return self._store.pressure_rules()

    def change(self, changes: Mapping[str, Any], by: Caller) -> ChangedRules:
        """Let this differ from the rules of the settings from now on. Raises InvalidInput that names what is wrong."""
        rules = rules_from_json(changes, self._base)
        told = self._store.set_pressure_rules(changes, self._clock.now(), by)
        self._use(rules)
        return told
