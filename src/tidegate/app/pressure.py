"""What watches the pressure in a process, put together from settings: sensors, dials, and who hears of changes."""

from __future__ import annotations

import gc
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from tidegate.core.identity import Action, AuditEntry, Role
from tidegate.core.pressure import Change
from tidegate.core.pressure_rules import PressureRules, rules_from_json
from tidegate.errors import InvalidInput, SettingError
from tidegate.ports import ChangedRules, Clock, Overload, Sensor, Store, WorkerPressure
from tidegate.runtime import heap
from tidegate.runtime.evictor import Eviction, Evictor
from tidegate.runtime.pressure import Dial, PressureMeter
from tidegate.runtime.readings.latency import LatencySensor
from tidegate.runtime.readings.machine import machine_sensors
from tidegate.runtime.worker import Worker
from tidegate.settings import Settings

log = logging.getLogger("tidegate.pressure")

ACTOR = "tidegate"
"""Who did what nobody has asked for, in the audit trail."""
MOST_KEPT = 1000
"""Entries of the audit trail that wait for the database."""
GIVES_BACK_EVERY_S = 60.0
"""How often free memory goes back to the kernel. Else a process that lives for long keeps the most that each part of it ever
needed: 2 MiB more with each round of the janitor."""


class PressureWatch:
    """The meter of this process and all that hangs on it. `place` names it among samples, such as `server:host`.

    The thread that asks the database how fast it is also brings what an operator has changed of the rules, and writes what
    there is to write: nothing here waits for a database that stands still. Once a minute it gives free memory back to the
    kernel. `sensors` replace those of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        store: Store,
        clock: Clock,
        place: str,
        *,
        sensors: Sequence[Sensor] | None = None,
        redis: Callable[[], object] | None = None,
        keeps_samples: bool = True,
    ) -> None:
        self.base = rules_of(settings)
        self._store = store
        self._clock = clock
        self._place = place
        self._keeps_samples = keeps_samples
        self._changed: ChangedRules | None = None
        self._entries: deque[AuditEntry] = deque(maxlen=MOST_KEPT)
        self._writing = threading.Lock()
        self._kept_at: datetime | None = None
        self._gave_back_s = clock.monotonic()
        self._asked = [
            LatencySensor("database", self._ask, clock, name="tidegate-ask-database", then=self._write)
        ]
        if redis is not None:
            self._asked.append(LatencySensor("redis", redis, clock, name="tidegate-ask-redis"))
        own = [*machine_sensors(data_dir), *self._asked] if sensors is None else sensors
        self.meter = PressureMeter(own, clock, self.base, watch_only=settings.pressure == "watch")
        self.meter.service.when_changed(self._note)
        self.meter.service.when_changed(self._free_caches)

    def start(self) -> None:
        for sensor in self._asked:
            sensor.start()
        self.meter.start()

    def close(self) -> None:
        self.meter.close()
        for sensor in self._asked:
            sensor.close()

    def guard(self, worker: Worker) -> None:
        """Have the worker of this process beat when its level changes, and give up an attempt in an emergency."""
        evictor = Evictor(self.meter.machine, worker, self._clock, self._note_eviction)
        self.meter.machine.when_changed(lambda _: worker.beat_now())
        self.meter.after_each_look(lambda: _ignore(evictor.look()))

    def of_worker(self) -> WorkerPressure:
        """What a worker tells with its beat."""
        dial = self.meter.machine
        return WorkerPressure(
            dial.level(), dial.changed_at(), dial.readings(), dial.minute(self._clock.now())
        )

    def _ask(self) -> None:
        changed = self._store.pressure_rules()
        if changed != self._changed:
            self._changed = changed
            self._adopt(changed)

    def _adopt(self, changed: ChangedRules | None) -> None:
        try:
            self.meter.use(self.base if changed is None else rules_from_json(changed.changes, self.base))
        except InvalidInput as error:  # of a newer version
            log.warning("The rules on pressure in the database cannot be used here: %s", error.message)

    def _write(self) -> None:
        """What waits to be written, on the thread that has just got an answer of the database."""
        while entry := self._next():
            self._store.add_audit([entry])
            with self._writing:  # others may have come meanwhile, and pushed this one out
                if self._entries and self._entries[0] is entry:
                    self._entries.popleft()
        minute = self.meter.service.minute(self._clock.now()) if self._keeps_samples else None
        if minute is not None and minute.at != self._kept_at:
            self._store.add_sample(self._place, minute)
            self._kept_at = minute.at
        self._give_back()

    def _give_back(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._gave_back_s >= GIVES_BACK_EVERY_S:
            self._gave_back_s = now_s
            heap.give_back()

    def _next(self) -> AuditEntry | None:
        with self._writing:
            return self._entries[0] if self._entries else None

    def _note(self, change: Change) -> None:
        felt = {name: value for numbers in change.because.values() for name, value in numbers.items()}
        signals = ", ".join(sorted(change.because))
        detail: dict[str, str | float] = {"before": str(change.before), "signals": signals, **felt}
        self._add("level", self._place, str(change.after), detail)

    def _note_eviction(self, eviction: Eviction) -> None:
        detail: dict[str, str | float] = {
            "attempt": str(eviction.key),
            "reserved_bytes": eviction.limit,
            "used_bytes": eviction.observed,
            **{
                name: value
                for name, value in self.meter.machine.readings().known().items()
                if name.startswith(("memory", "disk"))
            },
        }
        self._add("evict", f"job {eviction.key.job_id}", "evicted", detail)

    def _add(self, what: str, object: str, outcome: str, detail: dict[str, str | float]) -> None:
        entry = AuditEntry(
            self._clock.now(),
            ACTOR,
            Role.OPERATOR,
            Action.ACT_ON_PRESSURE,
            object,
            outcome,
            detail={"act": what, **detail},
        )
        with self._writing:
            self._entries.append(entry)

    def _free_caches(self, change: Change) -> None:
        dial = self.meter.service
        if change.after > change.before and dial.allowed().free_caches:
            _give_memory_back(dial)


def rules_of(settings: Settings) -> PressureRules:
    """The table of the settings. Raises SettingError that names what is wrong."""
    try:
        return rules_from_json(settings.pressure_rules)
    except InvalidInput as error:
        raise SettingError(f"`pressure_rules` cannot be used: {error.message}") from None


def _give_memory_back(dial: Dial | Overload) -> None:
    found = gc.collect()
    trimmed = heap.give_back()
    log.info(
        "At %s garbage was collected (%d objects) and free memory %s.",
        dial.level(),
        found,
        "given back" if trimmed else "kept",
    )


def _ignore(_: object) -> None:
    """A callback's answer that nobody wants."""
