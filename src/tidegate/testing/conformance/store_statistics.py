"""What every `StatisticsStore` does with the reports of installations."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tidegate.core.identity import Action
from tidegate.core.usage import Tally
from tidegate.errors import Conflict
from tidegate.ports import AuditFilter, Report, ReportSummary, Store
from tidegate.testing.conformance.store_identity import new_caller
from tidegate.testing.conformance.world import World

DAY = timedelta(days=1)
TOLD = Tally(5, 3, 1, 1, 6, 10.5, 20.0, 40.0, 80.0, 60.0)


def new_report(since: datetime, /, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "owner": "ann",
        "installation": "lab",
        "version": "1.0",
        "since": since,
        "until": since + DAY,
        "received_at": since + DAY,
        "tally": TOLD,
    }
    return Report(**{**fields, **changes})


class StatisticsStoreConformance:
    """Each time counts once for each installation."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def summary(self, world: World, owner: str | None = None) -> ReportSummary:
        return world.store.report_summary(owner, world.now - 9 * DAY, world.now + 99 * DAY)

    def test_reports_are_added_up(self, world: World) -> None:
        assert self.summary(world) == ReportSummary()
        for report in (
            new_report(world.now),
            new_report(world.now + DAY, version="1.1"),
            new_report(world.now, installation="plant"),
            new_report(world.now, owner="bob"),
        ):
            assert world.store.add_report(report)
        found = self.summary(world)
        assert (found.installations, found.reports) == (3, 4)
        assert (found.since, found.until) == (world.now, world.now + 2 * DAY)
        assert found.tally == pytest.approx(Tally._make(4 * value for value in TOLD))
        assert found.versions == {"1.0": 2, "1.1": 1}
        assert self.summary(world, "bob").tally == pytest.approx(TOLD)
        assert self.summary(world, "eve") == ReportSummary()

    def test_who_reported_stands_in_the_audit_trail(self, world: World) -> None:
        by = new_caller(world.now)
        world.store.add_report(new_report(world.now), by)
        with pytest.raises(Conflict):
            world.store.add_report(new_report(world.now + DAY / 2), by)
        (row,) = world.store.audit(AuditFilter(action=Action.REPORT_USAGE))
        assert (row.actor, row.object) == (by.owner, "installation lab")
        assert row.detail["from"] == f"{world.now:%Y-%m-%dT%H:%M:%SZ}"

    def test_a_report_that_is_sent_again_replaces_the_first(self, world: World) -> None:
        assert world.store.add_report(new_report(world.now))
        for _ in range(2):
            assert not world.store.add_report(new_report(world.now, tally=Tally(jobs=1)))
        assert self.summary(world).tally == Tally(jobs=1)

    @pytest.mark.parametrize(("begins_h", "ends_h"), [(-1, 1), (0, 23), (1, 2), (23, 47), (-1, 25)])
    def test_no_time_is_told_of_twice(self, world: World, begins_h: int, ends_h: int) -> None:
        world.store.add_report(new_report(world.now))
        hour = timedelta(hours=1)
        times = {"since": world.now + begins_h * hour, "until": world.now + ends_h * hour}
        with pytest.raises(Conflict, match=r"'lab' has told of"):
            world.store.add_report(new_report(world.now, **times))
        assert self.summary(world).tally == pytest.approx(TOLD)
        assert world.store.add_report(new_report(world.now, installation="plant", **times))

    def test_times_may_touch(self, world: World) -> None:
        assert world.store.add_report(new_report(world.now))
        assert world.store.add_report(new_report(world.now + DAY))
        assert world.store.add_report(new_report(world.now - DAY))

    def test_old_reports_are_forgotten(self, world: World) -> None:
        world.store.add_report(new_report(world.now))
        assert world.store.prune_reports(world.now + DAY) == 0
        assert world.store.prune_reports(world.now + 2 * DAY) == 1
        assert self.summary(world) == ReportSummary()
