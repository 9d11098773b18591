from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.membership import MASS_LEAST, Beat, Findings, Watch, doubt, look, marked
from tidegate.core.plan import WorkerView
from tidegate.core.resources import Resources
from tidegate.testing.scenario import NOW

LEASE_S = 60.0


class Observer:
    """Looks every five seconds at workers that beat every thirty unless they are told to be silent."""

    def __init__(self, workers: int) -> None:
        self.now_s = 0.0
        self.watch = doubt(Watch(), -1e6, LEASE_S)
        self.beats = {f"w{i}": Beat(f"w{i}", 1, NOW, LEASE_S) for i in range(workers)}
        self.silent: set[str] = set()
        self.found = Findings()

    def hear(self, *names: str) -> None:
        for name in names:
            self.beats[name] = self.beats[name]._replace(beat_at=NOW + timedelta(seconds=self.now_s))

    def pass_time(self, seconds: float) -> Findings:
        """The findings of the last look; who is dead stays away."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += 5.0
            if self.now_s % 30.0 == 0.0:
                self.hear(*(self.beats.keys() - self.silent))
            self.watch, self.found = look(self.watch, list(self.beats.values()), self.now_s)
            for one in self.found.dead:
                del self.beats[one.beat.worker_id]
        return self.found

    def states(self) -> tuple[set[str], set[str], set[str]]:
        found = self.found
        return (
            {beat.worker_id for beat in found.alive},
            {one.beat.worker_id for one in found.suspect},
            {one.beat.worker_id for one in found.dead},
        )


def test_a_silent_worker_is_suspect_after_its_lease_and_dead_after_half_a_lease_more():
    observer = Observer(2)
    observer.pass_time(30)
    observer.silent.add("w0")
    observer.pass_time(55)
    assert observer.states() == ({"w0", "w1"}, set(), set())
    observer.pass_time(5)
    assert observer.states() == ({"w1"}, {"w0"}, set())
    observer.pass_time(25)
    assert observer.states() == ({"w1"}, {"w0"}, set())
    observer.pass_time(5)
    assert observer.states() == ({"w1"}, set(), {"w0"})
    [dead] = observer.found.dead
    assert (dead.silent_s, dead.dead_after_s) == (90.0, 90.0)


def test_a_suspect_that_is_heard_of_again_is_alive():
    observer = Observer(1)
    observer.silent.add("w0")
    observer.pass_time(90)
    assert observer.states() == (set(), {"w0"}, set())
    observer.hear("w0")
    observer.pass_time(5)
    assert observer.states() == ({"w0"}, set(), set())


def test_a_new_generation_is_a_sign_of_life():
    observer = Observer(1)
    observer.silent.add("w0")
    observer.pass_time(90)
    observer.beats["w0"] = observer.beats["w0"]._replace(generation=2)
    observer.pass_time(5)
    assert observer.states() == ({"w0"}, set(), set())


def test_an_observer_that_began_declares_nobody_dead_for_two_leases():
    observer = Observer(2)
    observer.watch = doubt(Watch(), 0.0, LEASE_S)
    observer.silent = {"w0", "w1"}
    observer.pass_time(115)
    assert observer.states() == (set(), {"w0", "w1"}, set())
    observer.pass_time(5)
    assert observer.states() == (set(), set(), {"w0", "w1"})


def test_many_that_fall_silent_together_are_given_two_leases_more():
    observer = Observer(9)
    observer.pass_time(30)
    observer.silent = {"w0", "w1", "w2"}
    observer.pass_time(60)
    assert observer.found.mass_silence
    observer.pass_time(115)
    assert observer.states() == ({f"w{i}" for i in range(3, 9)}, observer.silent, set())
    observer.pass_time(5)
    assert observer.states()[2] == observer.silent


def test_few_of_many_are_no_mass():
    observer = Observer(10)  # 3 of 10 are not more than 30 %
    observer.pass_time(30)
    observer.silent = {"w0", "w1", "w2"}
    observer.pass_time(60)
    assert not observer.found.mass_silence
    observer.pass_time(30)
    assert observer.states()[2] == observer.silent


def test_two_of_two_are_no_mass():
    observer = Observer(2)
    observer.pass_time(30)
    observer.silent = {"w0", "w1"}
    observer.pass_time(90)
    assert observer.states()[2] == {"w0", "w1"}


def view(beat_s: float | None) -> WorkerView:
    beat_at = None if beat_s is None else NOW - timedelta(seconds=beat_s)
    return WorkerView("w", 1, Resources(), Resources(), beat_at=beat_at, lease_s=LEASE_S)


@pytest.mark.parametrize(
    ("beat_s", "silent_s"), [(None, None), (-5, None), (0, None), (59.9, None), (60, 60.0), (73, 73.0)]
)
def test_a_view_is_marked_once_its_lease_has_run_out(beat_s, silent_s):
    [found] = marked([view(beat_s)], NOW)
    assert (found.silent_s, found.takes_work) == (silent_s, silent_s is None)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hear", "hear", "look", "look", "doubt", "return", "leave"]),
        st.integers(0, 4),
        st.floats(0.0, 50.0),
    ),
    max_size=60,
)


@given(STEPS)
def test_nobody_is_dead_who_was_not_watched_in_silence_for_all_of_its_time(steps):
    now_s = 0.0
    watch = doubt(Watch(), now_s, LEASE_S)
    beats: dict[int, Beat] = {i: Beat(f"w{i}", 1, NOW, LEASE_S) for i in range(5)}
    changed_s = dict.fromkeys(beats, 0.0)
    doubted_s = 0.0
    for generation, (what, who, passes_s) in enumerate(steps, 2):  # no registration has an earlier one's
        now_s += passes_s
        if what == "hear" and who in beats:
            beats[who] = beats[who]._replace(beat_at=NOW + timedelta(seconds=now_s))
            changed_s[who] = now_s
        elif what == "return":
            beats[who] = Beat(f"w{who}", generation, NOW, LEASE_S)
            changed_s[who] = now_s
        elif what == "leave":
            beats.pop(who, None)
        elif what == "doubt":
            watch, doubted_s = doubt(watch, now_s, LEASE_S), now_s
        watch, found = look(watch, list(beats.values()), now_s)
        names = [b.worker_id for b in found.alive] + [s.beat.worker_id for s in found.suspect + found.dead]
        assert sorted(names) == sorted(beat.worker_id for beat in beats.values())
        recent = [s for s in found.suspect if s.silent_s < 2 * LEASE_S]
        if found.mass_silence:
            assert not found.dead
            assert len(recent) >= MASS_LEAST
        for one in found.dead:
            name = int(one.beat.worker_id[1:])
            assert now_s - changed_s[name] >= 1.5 * LEASE_S
            assert now_s - doubted_s >= 2 * LEASE_S
            assert one.silent_s <= now_s - changed_s[name]
            del beats[name]


@given(st.integers(1, 8), st.sets(st.integers(0, 7)))
def test_who_stays_silent_is_dead_within_four_leases(workers, silent):
    observer = Observer(workers)
    observer.watch = doubt(Watch(), 0.0, LEASE_S)
    observer.silent = {f"w{i}" for i in silent if i < workers}
    observer.pass_time(4 * LEASE_S)
    assert observer.beats.keys().isdisjoint(observer.silent)
    assert {beat.worker_id for beat in observer.found.alive} == observer.beats.keys()
