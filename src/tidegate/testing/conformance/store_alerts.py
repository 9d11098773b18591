"""What every `AlertStore` does."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Happening, Moment, Silence
from tidegate.core.identity import Action, Role
from tidegate.core.states import TaskState
from tidegate.errors import NotFound, NotLeader
from tidegate.ports import AlertFilter, AuditFilter, ChannelState, Notice, Store, WorkDone
from tidegate.testing.conformance.store_identity import new_caller
from tidegate.testing.conformance.world import World

BOTH = {"mail": Level.WARNING, "hook": Level.WARNING}


def new_alert(at: datetime, **changes: Any) -> Alert:
    """An episode that has just begun and is to be told."""
    fields: dict[str, Any] = {
        "rule": "memory",
        "subject": "node-1",
        "level": Level.SEVERE,
        "value": 96.2,
        "message": "Memory in use of node-1 is 96.2 %, above 95 %. Ünïcödé.",
        "raised_at": at,
        "changed_at": at,
        "moments": (Moment(at, Happening.RAISED, Level.SEVERE, "Memory is full.", None),),
        "told_level": Level.SEVERE,
        "told_at": at,
        "told_count": 1,
    }
    return Alert(**{**fields, **changes})


class AlertStoreConformance:
    """Episodes, their messages, silences and rules."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    @staticmethod
    def _raise(world: World, *, tell: Happening | None = Happening.RAISED, **changes: Any) -> Alert:
        change = Change(new_alert(world.now, **changes), tell)
        (stored,) = world.store.record_alerts([change], BOTH, world.epoch)
        return stored

    @staticmethod
    def _claim(world: World, channel: str = "mail", for_s: float = 60.0) -> Notice | None:
        return world.store.claim_notice(channel, world.now, world.now + timedelta(seconds=for_s))

    def test_an_alert_reads_back_as_recorded(self, world: World) -> None:
        stored = self._raise(world)
        assert stored == replace(new_alert(world.now), id=stored.id, version=1)
        assert stored.id > 0
        assert world.store.alert(stored.id) == stored
        assert world.store.open_alerts() == [stored]
        ended = replace(stored, resolved_at=world.clock.advance(5), message="Over.", value=None)
        (after,) = world.store.record_alerts([Change(ended)], BOTH, world.epoch)
        assert after == replace(ended, version=2) == world.store.alert(stored.id)
        assert world.store.open_alerts() == []
        for unknown in (stored.id + 1, 0, -1, 2**70):
            with pytest.raises(NotFound):
                world.store.alert(unknown)

    def test_there_is_one_episode_of_a_thing_at_a_time(self, world: World) -> None:
        first = self._raise(world)
        assert world.store.record_alerts([Change(new_alert(world.now))], {}, world.epoch) == []
        other = self._raise(world, subject="node-2")
        assert [alert.id for alert in world.store.open_alerts()] == [first.id, other.id]
        world.store.record_alerts([Change(replace(first, resolved_at=world.now))], {}, world.epoch)
        again = self._raise(world)
        assert len({first.id, other.id, again.id}) == 3

    def test_only_the_leader_records(self, world: World) -> None:
        epoch = world.epoch
        world.store.seize("another", world.now, 10.0)
        with pytest.raises(NotLeader):
            world.store.record_alerts([Change(new_alert(world.now), Happening.RAISED)], BOTH, epoch)
        assert world.store.open_alerts() == []
        assert self._claim(world) is None

    def test_a_change_of_what_was_written_meanwhile_is_left_out(self, world: World) -> None:
        alert = self._raise(world)
        by = new_caller(world.now, "olga", Role.OPERATOR)
        seen = world.store.acknowledge_alert(alert.id, world.now, by, "on it")
        assert (seen.state, seen.acknowledged_by, seen.version) == ("acknowledged", "olga", 2)
        assert seen.moments[-1] == Moment(world.now, Happening.ACKNOWLEDGED, Level.SEVERE, "on it", "olga")
        assert (
            world.store.record_alerts([Change(replace(alert, level=Level.DANGER))], BOTH, world.epoch) == []
        )
        assert world.store.acknowledge_alert(alert.id, world.clock.advance(1), by) == seen
        assert world.store.alert(alert.id) == seen
        rows = world.store.audit(AuditFilter(action=Action.ACKNOWLEDGE_ALERT))
        assert [(row.actor, row.object, row.detail["rule"]) for row in rows] == [
            ("olga", f"alert {alert.id}", "memory")
        ]
        with pytest.raises(NotFound):
            world.store.acknowledge_alert(alert.id + 1, world.now, by)

    def test_alerts_are_found_newest_first(self, world: World) -> None:
        ids = [
            self._raise(world, subject=f"node-{i}", level=level, rule=rule).id
            for i, (rule, level) in enumerate(
                [("memory", Level.WARNING), ("disk", Level.SEVERE), ("disk", Level.DANGER)]
            )
        ]
        store = world.store
        store.record_alerts([Change(replace(store.alert(ids[0]), resolved_at=world.now))], {}, world.epoch)
        store.acknowledge_alert(ids[1], world.now, new_caller(world.now))

        def found(**wanted: Any) -> list[int]:
            return [alert.id for alert in store.alerts(AlertFilter(**wanted))]

        assert found() == ids[::-1]
        assert found(limit=2) == ids[:0:-1]
        assert found(before_id=ids[1]) == [ids[0]]
        assert found(before_id=2**80) == ids[::-1]
        assert found(state="active") == [ids[2], ids[1]]
        assert (found(state="open"), found(state="acknowledged"), found(state="resolved")) == (
            [ids[2]], [ids[1]], [ids[0]],
        )  # fmt: skip
        assert found(level=Level.SEVERE) == [ids[2], ids[1]]
        assert found(rule="disk", level=Level.DANGER) == [ids[2]]

    def test_each_channel_gets_its_notice_and_gives_it_once(self, world: World) -> None:
        alert = self._raise(world)
        first = self._claim(world)
        assert first is not None
        assert (first.alert_id, first.number, first.what, first.level, first.tries, first.state) == (
            alert.id, 1, Happening.RAISED, Level.SEVERE, 1, "sending",
        )  # fmt: skip
        assert (first.rule, first.subject, first.text, first.value, first.raised_at) == (
            "memory", "node-1", alert.message, 96.2, alert.raised_at,
        )  # fmt: skip
        assert self._claim(world) is None
        assert self._claim(world, "nobody") is None
        assert world.store.end_notice(first, world.now)
        assert not world.store.end_notice(first, world.now)
        world.clock.advance(3600)
        assert self._claim(world) is None
        assert [(one.channel, one.state) for one in world.store.notices(alert.id)] == [
            ("hook", "waiting"),
            ("mail", "sent"),
        ]
        (state,) = world.store.channel_states()
        assert (state.name, state.failures, state.error) == ("mail", 0, None)

    def test_a_lost_channel_is_told_by_the_others_and_levels_are_heeded(self, world: World) -> None:
        lost = new_alert(world.now, rule="channel_lost", subject="mail")
        low = new_alert(world.now, level=Level.WARNING, told_level=Level.WARNING)
        channels = {"mail": Level.WARNING, "hook": Level.WARNING, "sms": Level.SEVERE}
        stored = world.store.record_alerts(
            [Change(lost, Happening.RAISED), Change(low, Happening.RAISED)], channels, world.epoch
        )
        assert [[one.channel for one in world.store.notices(alert.id)] for alert in stored] == [
            ["hook", "sms"], ["hook", "mail"],
        ]  # fmt: skip

    def test_a_failed_try_comes_again_until_it_is_given_up(self, world: World) -> None:
        alert = self._raise(world)
        first = self._claim(world)
        assert first is not None
        assert world.store.end_notice(first, world.now, "no answer", world.now + timedelta(seconds=30))
        assert self._claim(world) is None
        world.clock.advance(30)
        second = self._claim(world)
        assert second is not None
        assert (second.id, second.tries, second.error) == (first.id, 2, "no answer")
        assert not world.store.end_notice(first, world.now)  # a try that was thought dead
        assert world.store.end_notice(second, world.now, "refused")
        world.clock.advance(3600)
        assert self._claim(world) is None
        given_up = next(one for one in world.store.notices(alert.id) if one.channel == "mail")
        assert (given_up.state, given_up.error, given_up.tries) == ("given_up", "refused", 2)

    def test_what_was_taken_and_not_ended_is_due_again(self, world: World) -> None:
        self._raise(world)
        first = self._claim(world, for_s=60)
        assert first is not None
        world.clock.advance(59)
        assert self._claim(world) is None
        world.clock.advance(1)
        second = self._claim(world)
        assert second is not None
        assert (second.id, second.tries) == (first.id, 2)
        assert not world.store.end_notice(first, world.now)
        assert world.store.end_notice(second, world.now)

    def test_the_messages_of_an_alert_keep_their_order(self, world: World) -> None:
        alert = self._raise(world)
        first = self._claim(world)
        assert first is not None
        world.store.end_notice(first, world.now, "no answer", world.now + timedelta(seconds=300))
        ended = replace(alert, resolved_at=world.clock.advance(1), told_at=world.now, told_count=2)
        world.store.record_alerts([Change(ended, Happening.RESOLVED)], BOTH, world.epoch)
        self._raise(world, subject="node-2")
        other = self._claim(world)
        assert other is not None
        assert other.subject == "node-2"  # an earlier message of the first is still to come
        world.store.end_notice(other, world.now)
        world.clock.advance(300)
        order = []
        while (notice := self._claim(world)) is not None:
            order.append((notice.number, notice.what, notice.level))
            world.store.end_notice(notice, world.now)
        assert order == [(1, Happening.RAISED, Level.SEVERE), (2, Happening.RESOLVED, Level.INFO)]

    def test_of_many_that_want_a_notice_one_gets_it(self, world: World) -> None:
        self._raise(world)
        claimed: list[Notice | None] = []
        begin = threading.Barrier(6)

        def claim() -> None:
            begin.wait()
            claimed.append(self._claim(world))

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(notice is None for notice in claimed) == [False, *[True] * 5]

    def test_channels_count_their_failures_until_one_try_works(self, world: World) -> None:
        store = world.store
        store.note_channel("mail", world.now, "refused")
        store.note_channel("mail", failed_at := world.clock.advance(1), "no answer")
        assert store.channel_states() == [ChannelState("mail", 2, None, failed_at, "no answer")]
        store.note_channel("mail", worked_at := world.clock.advance(1), None)
        store.note_channel("hook", world.now, None)
        assert store.channel_states() == [
            ChannelState("hook", 0, worked_at),
            ChannelState("mail", 0, worked_at, failed_at),
        ]

    def test_silences_end_by_themselves_or_by_hand(self, world: World) -> None:
        store, by = world.store, new_caller(world.now, "olga", Role.OPERATOR)
        later = world.now + timedelta(hours=1)
        one = store.add_silence(Silence("disk", "node-1", "new disk comes", "olga", world.now, later), by)
        every = store.add_silence(Silence(None, None, "", "olga", world.now, later), by)
        assert store.silences() == [one, every]
        assert one.id != every.id
        ended = store.end_silence(one.id, at := world.clock.advance(60), by)
        assert ended == replace(one, ends_at=at)
        assert store.end_silence(one.id, world.clock.advance(1), by) == ended
        assert store.silences(world.now) == [every]
        assert store.silences(later) == []
        assert store.silences() == [ended, every]
        with pytest.raises(NotFound):
            store.end_silence(every.id + 1, world.now, by)
        rows = store.audit(AuditFilter(action=Action.SILENCE_ALERTS))
        assert [row.object for row in rows] == [f"silence {n}" for n in (one.id, every.id, one.id)]
        assert rows[2].detail == {
            "rule": "disk", "subject": "node-1", "reason": "new disk comes", "minutes": 60.0,
        }  # fmt: skip

    def test_changes_of_rules_add_up_until_they_are_forgotten(self, world: World) -> None:
        store, by = world.store, new_caller(world.now, "olga", Role.OPERATOR)
        store.change_rule("memory", {"warning": 70.0, "danger": None}, world.now, by)
        store.change_rule("memory", {"warning": 75.5, "enabled": False}, world.clock.advance(1), by)
        store.change_rule("cpu", {"hold_s": 5.0}, world.now, by)
        first, second = store.rule_changes()
        assert (first.rule, dict(first.changes)) == ("cpu", {"hold_s": 5.0})
        assert dict(second.changes) == {"warning": 75.5, "danger": None, "enabled": False}
        assert (second.changed_at, second.changed_by) == (world.now, "olga")
        store.change_rule("memory", None, world.now, by)
        store.change_rule("memory", None, world.now, by)
        assert [change.rule for change in store.rule_changes()] == ["cpu"]
        assert len(store.audit(AuditFilter(action=Action.CHANGE_ALERT_RULE))) == 5

    def test_work_done_is_counted_by_when_it_ended(self, world: World) -> None:
        world.register()
        begin = world.now
        for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SUCCEEDED):
            world.submit()
            key = world.claim()[0].key
            world.clock.advance(10)
            world.report(key, state)
        world.store.request_cancel(world.submit(), world.now)
        second = timedelta(seconds=1)
        work = world.store.work_done
        assert work(begin, world.now + second) == WorkDone(3, 1, 3, 30.0)
        assert work(begin, world.now) == WorkDone(2, 1, 2, 20.0)
        assert work(world.now, world.now + second) == WorkDone(1, 0, 1, 10.0)
        assert work(begin - second, begin) == WorkDone()

    def test_what_ended_long_ago_is_forgotten(self, world: World) -> None:
        store, by = world.store, new_caller(world.now)
        first, other = self._raise(world), self._raise(world, subject="node-2")
        store.add_silence(Silence("disk", None, "", "ann", world.now, world.now + timedelta(seconds=5)), by)
        store.record_alerts([Change(replace(first, resolved_at=world.now))], {}, world.epoch)
        assert store.prune_alerts(world.now) == 0
        world.clock.advance(10)
        assert store.prune_alerts(world.now) == 1
        assert store.prune_alerts(world.now) == 0
        assert store.alerts(AlertFilter()) == [other]
        assert store.notices(first.id) == []
        assert len(store.notices(other.id)) == 2
        assert store.silences() == []
