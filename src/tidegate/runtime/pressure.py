"""The gauge of this process: looks at its sensors, keeps the level, tells who has to act."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidegate.core.overload import Allowed
from tidegate.core.pressure import Change, Gauge, Level, observe, sample_every_s, severity
from tidegate.core.pressure_rules import PressureRules
from tidegate.core.readings import History, Readings, Sample, readings_from, thinned
from tidegate.ports import Clock, Sensor

log = logging.getLogger("tidegate.pressure")

MINUTE = timedelta(minutes=1)
MOST_SAMPLES = 2400
"""Ten minutes at four a second, or forty at one."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that is told to others, exchanged as one."""

    gauge: Gauge
    readings: Readings
    rules: PressureRules
    changed_at: datetime | None = None


class PressureMeter:
    """An `Overload`. Looks once a second on a thread of its own, four times a second under pressure.

    `of_machine`: judged by the rows of the machine alone, as a worker is. `watch_only`: levels are told, and allow everything.
    Listeners are called on that thread after each change of level, and must be quick.
    """

    def __init__(
        self,
        sensors: Sequence[Sensor],
        clock: Clock,
        rules: PressureRules,
        *,
        of_machine: bool = False,
        watch_only: bool = False,
    ) -> None:
        self._sensors = list(sensors)
        self._clock = clock
        self._of_machine = of_machine
        self._watch_only = watch_only
        self._seen = _Seen(Gauge(), Readings(), rules)
        self._history = History(MOST_SAMPLES)
        self._lock = threading.Lock()
        """Of the history alone: what is seen is exchanged as one."""
        self._listeners: list[Callable[[Change], None]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-pressure", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def add_sensor(self, sensor: Sensor) -> None:
        """One that could not be there from the start, such as that of an event loop."""
        self._sensors.append(sensor)

    def when_changed(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)

    def use(self, rules: PressureRules) -> None:
        """From the next look on."""
        self._seen = replace(self._seen, rules=rules)

    def level(self) -> Level:
        return self._seen.gauge.level

    def allowed(self) -> Allowed:
        """What the present level allows."""
        return Allowed() if self._watch_only else self._seen.rules.levels[self._seen.gauge.level]

    def severity(self) -> float:
        seen = self._seen
        return severity(seen.gauge, seen.readings, seen.rules.rows)

    def readings(self) -> Readings:
        return self._seen.readings

    def rules(self) -> PressureRules:
        return self._seen.rules

    @property
    def watch_only(self) -> bool:
        return self._watch_only

    def gauge(self) -> Gauge:
        return self._seen.gauge

    def changed_at(self) -> datetime | None:
        """Since when the level is what it is; None when it has not changed since the start."""
        return self._seen.changed_at

    def history(self, since: datetime) -> Sequence[Sample]:
        with self._lock:
            return self._history.since(since)

    def minute(self) -> Sample | None:
        """The last minute as one sample, at the begin of the minute of the clock that its last look is in."""
        sample = thinned(self.history(self._clock.now() - MINUTE))
        return None if sample is None else sample._replace(at=sample.at.replace(second=0, microsecond=0))

    def look(self) -> Change | None:
        """One look at all sensors; the change of level that it made."""
        values = {name: value for sensor in self._sensors for name, value in sensor.read().items()}
        readings, at = readings_from(values), self._clock.now()
        seen = self._seen
        rows = seen.rules.machine_rows if self._of_machine else seen.rules.rows
        gauge, change = observe(seen.gauge, readings, self._clock.monotonic(), rows)
        self._seen = replace(
            self._seen, gauge=gauge, readings=readings, changed_at=at if change else seen.changed_at
        )
        with self._lock:
            self._history.add(Sample(at, readings, gauge.level))
        if change is not None:
            self._tell(change)
        return change

    def _tell(self, change: Change) -> None:
        rises = change.after > change.before
        log.log(
            logging.WARNING if rises else logging.INFO,
            "The pressure is %s, it was %s: %s.",
            change.after,
            change.before,
            "; ".join(f"{signal} {_text(numbers)}" for signal, numbers in sorted(change.because.items())),
            extra={
                "level_before": str(change.before),
                "level_after": str(change.after),
                "because": change.because,
            },
        )
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.exception("A change of level could not be acted upon.")

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            try:
                self.look()
            except Exception:
                log.exception("A look at the pressure failed; the next one follows.")
            pause_s = sample_every_s(self.level())


def _text(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.6g}" for name, value in numbers.items())
