"""What is felt in this process: one thread looks at the sensors, and two dials judge what it saw."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.core.overload import Allowed
from tidegate.core.pressure import Change, Gauge, Level, Row, is_short, observe, sample_every_s, severity
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
    changed_at: datetime | None = None


class Dial:
    """An `Overload`: one judgement of what is seen. `of_machine`: by the rows of the machine alone, as a worker is judged.

    `watch_only`: levels are told, and allow everything. Listeners are called on the meter's thread after each change of
    level, and must be quick.
    """

    def __init__(self, name: str, rules: PressureRules, *, of_machine: bool, watch_only: bool) -> None:
        self.name = name
        self._watch_only = watch_only
        self._of_machine = of_machine
        self._seen = _Seen(Gauge(), Readings())
        self._rules = rules
        """Apart from what is seen: they come on a thread of their own, and a look must not undo that."""
        self._history = History(MOST_SAMPLES)
        self._lock = threading.Lock()
        """Of the history alone: what is seen is exchanged as one."""
        self._listeners: list[Callable[[Change], None]] = []

    def when_changed(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)

    def use(self, rules: PressureRules) -> None:
        """From the next look on."""
        self._rules = rules

    def level(self) -> Level:
        return self._seen.gauge.level

    def allowed(self) -> Allowed:
        """What the present level allows."""
        return Allowed() if self._watch_only else self._rules.levels[self._seen.gauge.level]

    def is_short(self) -> bool:
        return is_short(self._seen.readings, self.rows)

    @property
    def watch_only(self) -> bool:
        return self._watch_only

    def severity(self) -> float:
        seen = self._seen
        return severity(seen.gauge, seen.readings, self.rows)

    def readings(self) -> Readings:
        return self._seen.readings

    def rules(self) -> PressureRules:
        return self._rules

    @property
    def rows(self) -> Sequence[Row]:
        """Those it judges by."""
        rules = self._rules
        return rules.machine_rows if self._of_machine else rules.rows

    def gauge(self) -> Gauge:
        return self._seen.gauge

    def changed_at(self) -> datetime | None:
        """Since when the level is what it is; None when it has not changed since the start."""
        return self._seen.changed_at

    def history(self, since: datetime) -> Sequence[Sample]:
        with self._lock:
            return self._history.since(since)

    def minute(self, now: datetime) -> Sample | None:
        """The last minute as one sample, at the begin of the minute of the clock that its last look is in."""
        sample = thinned(self.history(now - MINUTE))
        return None if sample is None else sample._replace(at=sample.at.replace(second=0, microsecond=0))

    def judge(self, readings: Readings, at: datetime, now_s: float) -> Change | None:
        """Take a look into account; the change of level that it made."""
        seen = self._seen
        gauge, change = observe(seen.gauge, readings, now_s, self.rows)
        changed_at = at if change else seen.changed_at
        self._seen = _Seen(gauge, readings, changed_at)
        with self._lock:
            self._history.add(Sample(at, readings, gauge.level))
        if change is not None:
            self._tell(change)
        return change

    def _tell(self, change: Change) -> None:
        log.log(
            logging.WARNING if change.after > change.before else logging.INFO,
            "The pressure on the %s is %s, it was %s: %s.",
            self.name,
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


class PressureMeter:
    """Looks once a second on a thread of its own, four times a second under pressure, and has two dials: `machine` for what
    bears on the jobs here, `service` for what bears on those who ask, too."""

    def __init__(
        self,
        sensors: Sequence[Sensor],
        clock: Clock,
        rules: PressureRules | None = None,
        *,
        watch_only: bool = False,
    ) -> None:
        rules = rules or PressureRules()
        self.machine = Dial("machine", rules, of_machine=True, watch_only=watch_only)
        self.service = Dial("service", rules, of_machine=False, watch_only=watch_only)
        self._sensors = list(sensors)
        self._clock = clock
        self._after_look: list[Callable[[], None]] = []
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

    def after_each_look(self, callback: Callable[[], None]) -> None:
        """Called on the meter's thread; must be quick."""
        self._after_look.append(callback)

    def use(self, rules: PressureRules) -> None:
        """Judge by these from the next look on."""
        for dial in (self.machine, self.service):
            dial.use(rules)

    def look(self) -> None:
        """One look at all sensors."""
        values = {name: value for sensor in self._sensors for name, value in sensor.read().items()}
        readings, at, now_s = readings_from(values), self._clock.now(), self._clock.monotonic()
        for dial in (self.machine, self.service):
            dial.judge(readings, at, now_s)
        for callback in self._after_look:
            callback()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            try:
                self.look()
            except Exception:
                log.exception("A look at the pressure failed; the next one follows.")
            pause_s = sample_every_s(self.service.level())


def _text(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.6g}" for name, value in numbers.items())
