"""`ReadingStore` in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tidegate.core.identity import LOCAL_OWNER, Action, Caller
from tidegate.core.readings import Sample
from tidegate.ports import ChangedRules
from tidegate.store.readings import MOST
from tidegate.store.values import to_json
from tidegate.testing.memory_rows import stored_spec
from tidegate.testing.memory_state import MemoryState, locked


class MemoryReadings(MemoryState):
    """`ReadingStore` in memory."""

    @locked
    def add_sample(self, place: str, sample: Sample) -> None:
        self._samples[sample.at, place] = sample

    @locked
    def samples(self, place: str | None, since: datetime, until: datetime) -> Sequence[tuple[str, Sample]]:
        found = [
            (at_place, sample)
            for (at, at_place), sample in sorted(self._samples.items(), key=lambda item: item[0])
            if since <= at < until and place in (None, at_place)
        ]
        return found[:MOST]

    @locked
    def prune_samples(self, before: datetime) -> int:
        old = [key for key in self._samples if key[0] < before]
        for key in old:
            del self._samples[key]
        return len(old)

    @locked
    def pressure_rules(self) -> ChangedRules | None:
        return self._pressure_rules

    @locked
    def set_pressure_rules(
        self, changes: Mapping[str, Any], at: datetime, by: Caller | None = None
    ) -> ChangedRules:
        owner = LOCAL_OWNER if by is None else by.owner
        self._pressure_rules = ChangedRules(stored_spec(changes), at, owner)
        told = to_json(dict(changes))[:1000]
        self._note(by, Action.CHANGE_PRESSURE_RULES, "pressure rules", changes=told)
        return self._pressure_rules
