"""The worker's decisions, without a worker: told events, asked for instructions, against a store that plays its part."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.core.attempt import Assignment, AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.core.retry import Losses
from tidegate.core.states import AttemptState, ExitReason, TaskState
from tidegate.ports import BeatAnswer
from tidegate.runtime.evictor import Eviction
from tidegate.runtime.worker_events import (
    Beat,
    BeatAsked,
    Beaten,
    BeatFailed,
    Begin,
    CancelAsked,
    Claim,
    ClaimAnswered,
    ClaimFailed,
    DropCancelled,
    DropUnbegun,
    Ended,
    Event,
    EvictAsked,
    Gone,
    HurryAsked,
    Instruction,
    Kill,
    Launched,
    Refuse,
    Register,
    Registered,
    RegisterFailed,
    Report,
    Reported,
    ReportFailed,
    StopAsked,
    Ticked,
)
from tidegate.runtime.worker_state import GATHER_S, WorkerRules, WorkerState
from tidegate.testing.scenario import NOW

RULES = WorkerRules(beat_s=30.0, lease_s=60.0, max_losses=Losses(5), interactive_queue="interactive")


def key(job: int) -> AttemptKey:
    return AttemptKey(job, 1, 1)


def batch(job: int, count: int) -> list[AttemptKey]:
    return [AttemptKey(job, number, 1) for number in range(1, count + 1)]


def assignment(of: AttemptKey, head: AttemptKey | None = None) -> Assignment:
    return Assignment(of, "sql", "ann", "default", "n", {}, Resources(), 60.0, 1, 0, None, head=head)


class Play:
    """A worker's state between sandboxes that obey and a store that is there or away.

    What the store holds is `held`: attempt to whether it is claimed. `begun` counts every start of a sandbox.
    """

    def __init__(self, rules: WorkerRules = RULES) -> None:
        self.state = WorkerState(rules)
        self.now_s = 0.0
        self.away = False
        self.generation = 0
        self.held: dict[AttemptKey, bool] = {}
        self.heads: dict[AttemptKey, AttemptKey] = {}
        """The first attempt of the sandbox of each."""
        self.to_cancel: set[AttemptKey] = set()
        self.begun: Counter[AttemptKey] = Counter()
        self.sandboxes: set[AttemptKey] = set()
        self.killed: set[AttemptKey] = set()
        self.refused: list[AttemptKey] = []
        self.ends: list[AttemptEnd] = []
        self.renewed_s = 0.0
        self.log: list[tuple[Event, float, list[Instruction]]] = []

    def tell(self, event: Event) -> None:
        todo = deque(self._handle(event))
        while todo:
            answer = self._do(todo.popleft())
            if answer is not None:
                todo.extend(self._handle(answer))

    def tick(self, passes_s: float = 0.0) -> None:
        self.now_s += passes_s
        self.tell(Ticked())

    def run_for(self, seconds: float) -> None:
        """Let time pass as the worker's thread does: from one due time to the next."""
        until_s = self.now_s + seconds
        for _ in range(10_000):
            due_s = self.state.due_s()
            if due_s > until_s:
                self.tick(until_s - self.now_s)
                return
            self.tick(max(due_s - self.now_s, 0.0))
            if self.state.over(self.now_s):
                return
        raise AssertionError("The worker finds something due again and again.")

    def join(self) -> Play:
        self.tick()
        return self

    def start(
        self, job: int, *, claimed: bool = True, generation: int | None = None, count: int = 1
    ) -> AttemptKey:
        """What a scheduler has committed and now hands over: one attempt, or a batch of so many."""
        by = self.generation if generation is None else generation
        keys = batch(job, count)
        self.heads.update(dict.fromkeys(keys, keys[0]))
        if by == self.generation:
            self.held.update(dict.fromkeys(keys, claimed))
        given = {of: self.assignment(of) if claimed else None for of in keys}
        self.tell(Launched([Start(of, "default", "w", by, Resources(), given[of]) for of in keys]))
        return keys[0]

    def assignment(self, of: AttemptKey) -> Assignment:
        head = self.heads[of]
        return assignment(of, None if head == of else head)

    def of_sandbox(self, head: AttemptKey) -> set[AttemptKey]:
        return {of for of, other in self.heads.items() if other == head}

    def end(
        self, of: AttemptKey, state: AttemptState = AttemptState.SUCCEEDED, generation: int | None = None
    ):
        self.sandboxes.discard(of)
        by = self.state.running[of].generation if generation is None else generation
        return Ended(AttemptEnd(of, "w", by, state, NOW, TaskState.SUCCEEDED))

    def take_over(self) -> None:
        """The worker is declared dead, or another one registers in its name."""
        self.generation += 1
        self.held.clear()

    def _handle(self, event: Event) -> list[Instruction]:
        todo = self.state.handle(event, self.now_s)
        self.log.append((event, self.now_s, todo))
        return todo

    def _do(self, instruction: Instruction) -> Event | None:
        match instruction:
            case Register():
                assert not self.sandboxes, "it registers while something of the past still runs"
                if self.away:
                    return RegisterFailed()
                self.take_over()
                self.renewed_s = self.now_s
                return Registered(self.generation, self.now_s)
            case Beat():
                return self._beat(instruction)
            case Claim():
                return self._claim(instruction)
            case Begin():
                assert self.state.joined
                assert not self.state.fenced
                for each in instruction.batch:
                    assert each.sandbox == instruction.batch[0].key
                    self.begun[each.key] += 1
                    self.sandboxes.add(each.key)
            case Kill():
                self.killed |= self.of_sandbox(instruction.sandbox) & self.sandboxes
            case DropCancelled():
                return self.end(instruction.assignment.key, AttemptState.FAILED)
            case DropUnbegun():
                return self.end(instruction.key, AttemptState.LOST, generation=self.generation)
            case Refuse():
                self.refused += instruction.keys
            case Report():
                return self._report(instruction)
        return None

    def _beat(self, beat: Beat) -> Event:
        if self.away:
            return BeatFailed()
        if beat.generation != self.generation:
            return Beaten(None, self.now_s)
        self.renewed_s = self.now_s
        running = set(beat.running)
        missing = [of for of, claimed in self.held.items() if claimed and of not in running]
        cancel = [of for of in self.held if of in self.to_cancel]
        return Beaten(BeatAnswer(cancel, sorted(running - self.held.keys()), missing), self.now_s)

    def _claim(self, claim: Claim) -> Event:
        if self.away:
            return ClaimFailed()
        wanted = [start.key for start in claim.starts if claim.generation == self.generation]
        free = {of for of in wanted if self.held.get(of) is False}
        mine = [of for of in wanted if of in free and self.of_sandbox(self.heads[of]) <= free]
        self.held.update(dict.fromkeys(mine, True))
        if mine:
            self.renewed_s = self.now_s
        return ClaimAnswered(claim.starts, [self.assignment(of) for of in mine], self.now_s)

    def _report(self, report: Report) -> Event:
        if self.away:
            return ReportFailed()
        for end in report.ends:
            if self.held.pop(end.key, None) is not None:
                self.ends.append(end)
        return Reported({end.key for end in report.ends}, report.gone)


def test_it_registers_beats_and_runs_what_it_claims():
    play = Play().join()
    assert (play.state.generation, play.state.joined) == (1, True)
    first, second = play.start(1), play.start(2, claimed=False)
    play.tick()
    assert play.sandboxes == {first, second}
    play.tell(play.end(first))
    play.run_for(90)
    assert [end.key for end in play.ends] == [first]
    beats = [at for event, at, _ in play.log if isinstance(event, Beaten)]
    assert beats == [30.0, 60.0, 90.0]


def test_a_failed_beat_is_tried_again_soon_and_often():
    play = Play().join()
    play.away = True
    play.run_for(47)
    tries = [at for event, at, _ in play.log if isinstance(event, BeatFailed)]
    assert tries == [30.0, 31.0, 33.0, 37.0, 42.0, 47.0]
    play.away = False
    play.run_for(5)
    assert play.renewed_s == 52.0
    assert play.state.due_s() == 82.0


def test_a_victim_that_takes_its_time_to_end_is_not_chosen_again():
    play = Play().join()
    first, second = play.start(1), play.start(2, count=3)
    assert [one.key for one in play.state.evictable()] == [first, second]
    play.tell(EvictAsked(Eviction(first, "no memory", 1, 2)))
    assert [one.key for one in play.state.evictable()] == [second]
    play.tell(play.end(second))
    assert [one.key for one in play.state.evictable()] == [batch(2, 3)[1]]


def test_without_renewal_it_ends_everything_before_it_can_be_declared_dead():
    play = Play().join()
    runs = play.start(1)
    play.away = True
    play.run_for(49.9)
    assert play.killed == set()
    play.run_for(0.2)
    assert play.killed == {runs}
    [kill] = [one for _, _, todo in play.log for one in todo if isinstance(one, Kill)]
    assert kill.reason is ExitReason.LEASE_EXPIRED
    assert "could not renew its lease for 50 s" in str(kill.message)
    late = play.start(2)
    assert play.begun[late] == 0


def test_who_was_fenced_and_is_heard_again_in_time_goes_on_under_its_generation():
    play = Play().join()
    runs = play.start(1)
    play.away = True
    play.run_for(55)
    play.tell(play.end(runs, AttemptState.LOST))
    play.away = False
    play.run_for(10)
    assert [end.key for end in play.ends] == [runs]
    assert play.state.generation == 1
    assert play.begun[play.start(3)] == 1


def test_a_worker_inside_a_server_never_fences_itself():
    play = Play(WorkerRules(30.0, 60.0, Losses(5), "interactive", fences=False)).join()
    runs = play.start(1)
    play.away = True
    play.run_for(3600)
    assert play.killed == set()
    assert play.sandboxes == {runs}


def test_whose_generation_is_over_registers_anew_once_nothing_runs():
    play = Play().join()
    runs, waits = play.start(1), play.start(2, claimed=False)
    play.take_over()
    play.tell(BeatAsked())
    play.tick()
    assert play.killed == {runs}
    assert play.refused == [waits]
    assert not play.state.joined
    play.run_for(300)
    assert play.state.generation == 1
    play.tell(play.end(runs, AttemptState.LOST))
    play.tick()
    assert (play.state.generation, play.state.joined) == (3, True)
    assert play.ends == []  # whoever took over has seen to it


def test_an_attempt_that_was_taken_away_is_ended_and_the_others_go_on():
    play = Play().join()
    taken, stays = play.start(1), play.start(2)
    del play.held[taken]
    play.run_for(30)
    assert play.killed == {taken}
    assert stays in play.sandboxes


def test_what_was_claimed_and_never_heard_of_is_lost_at_the_second_beat():
    play = Play().join()
    play.held[key(7)] = True  # the answer to the claim got lost
    play.run_for(30)
    assert play.ends == []
    play.run_for(31)
    assert [(end.key, end.state) for end in play.ends] == [(key(7), AttemptState.LOST)]


def test_what_was_on_its_way_during_one_beat_is_not_lost():
    play = Play().join()
    play.held[key(7)] = True
    play.run_for(30)
    play.start(7)
    play.run_for(90)
    assert play.begun[key(7)] == 1
    assert play.ends == []


def test_a_message_that_comes_twice_starts_once():
    play = Play().join()
    play.start(1)
    play.start(1)
    assert play.begun == {key(1): 1}


def test_a_cancel_that_comes_before_its_start_wins():
    play = Play().join()
    play.tell(CancelAsked([key(1)]))
    play.start(1)
    play.tick()
    assert play.begun[key(1)] == 0
    assert [end.state for end in play.ends] == [AttemptState.FAILED]


@pytest.mark.parametrize("claimed", [False, True])
def test_a_stop_puts_back_what_has_not_begun(claimed):
    play = Play().join()
    runs = play.start(1)
    play.away = True
    waits = play.start(2, claimed=False)
    play.tell(StopAsked(10.0))
    late = play.start(3, claimed=claimed)
    play.away = False
    play.run_for(9)
    assert {end.key for end in play.ends} == {waits, late}
    assert play.killed == set()
    play.run_for(1)
    assert play.killed == {runs}
    assert not play.state.over(play.now_s)
    play.tell(play.end(runs, AttemptState.LOST))
    play.tick()
    assert play.state.over(play.now_s)


def test_a_stop_in_a_hurry_ends_its_grace():
    play = Play().join()
    runs = play.start(1)
    play.tell(HurryAsked())
    play.tick(1)
    assert play.killed == set()
    play.tell(StopAsked(600.0))
    play.tell(HurryAsked())
    play.tick()
    assert play.killed == {runs}


def test_a_worker_that_drains_for_long_goes_on_beating():
    play = Play().join()
    play.start(1)
    play.tell(StopAsked(600.0))
    play.run_for(300)
    assert play.renewed_s == 300.0


def test_a_stop_gives_up_reports_that_the_store_refuses():
    play = Play().join()
    runs = play.start(1)
    play.away = True
    play.tell(StopAsked(0.0))
    play.tell(play.end(runs))
    play.run_for(9.9)
    assert not play.state.over(play.now_s)
    play.run_for(0.1)
    assert play.state.over(play.now_s)


@pytest.mark.parametrize("claimed", [False, True])
def test_a_batch_is_begun_in_one_sandbox(claimed):
    play = Play().join()
    play.start(1, count=3, claimed=claimed)
    play.start(2, claimed=claimed)
    play.tick()
    begun = [one for _, _, todo in play.log for one in todo if isinstance(one, Begin)]
    assert [[each.key for each in one.batch] for one in begun] == [batch(1, 3), batch(2, 1)]
    play.tell(play.end(key(1)))
    assert set(play.state.running) == {*batch(1, 3)[1:], key(2)}


def test_what_ends_a_batch_asks_its_sandbox_once_whichever_of_it_is_left():
    play = Play().join()
    play.start(1, count=3)
    play.tell(play.end(key(1)))
    play.tell(CancelAsked(batch(1, 3)))
    kills = [one for _, _, todo in play.log for one in todo if isinstance(one, Kill)]
    assert [kill.sandbox for kill in kills] == [key(1)]
    play.tell(StopAsked(0.0))
    play.tick()
    assert play.killed == set(batch(1, 3)[1:])


def test_a_cancel_before_its_start_wins_over_a_whole_batch():
    play = Play().join()
    play.tell(CancelAsked(batch(1, 3)))
    play.start(1, count=3)
    play.tick()
    assert play.begun == {}
    assert [end.key for end in play.ends] == batch(1, 3)


def reports(play):
    """How many ends each report told of."""
    return [len(one.ends) for _, _, todo in play.log for one in todo if isinstance(one, Report)]


def test_ends_in_a_batch_that_goes_on_are_reported_together():
    play = Play().join()
    play.start(1, count=4)
    for of in batch(1, 2):
        play.tell(play.end(of))
        play.tick(GATHER_S * 0.4)
    assert reports(play) == []
    play.run_for(GATHER_S * 0.4)
    assert reports(play) == [2]
    play.tell(play.end(batch(1, 4)[2]))
    play.run_for(GATHER_S * 0.9)
    assert reports(play) == [2]
    play.tell(play.end(batch(1, 4)[3]))
    play.tick()
    assert reports(play) == [2, 2]


def test_an_end_that_makes_room_waits_for_nobody_and_takes_the_others_along():
    play = Play().join()
    play.start(1, count=3)
    play.start(2)
    play.tell(play.end(key(1)))
    play.tick()
    assert reports(play) == []
    play.tell(play.end(key(2)))
    play.tick()
    assert reports(play) == [2]


def test_what_the_store_refused_is_not_reported_before_its_time_by_what_ends_then():
    play = Play().join()
    play.start(1)
    play.start(2)
    play.away = True
    play.tell(play.end(key(1)))
    play.tick()
    play.tell(play.end(key(2)))
    play.tick(RULES.retry_s * 0.9)
    assert reports(play) == [1]
    play.away = False
    play.run_for(RULES.retry_s)
    assert reports(play) == [1, 2]


def test_a_batch_that_comes_twice_is_begun_once():
    play = Play().join()
    play.start(1, count=3)
    play.tell(play.end(key(1)))
    play.start(1, count=3)
    assert play.begun == dict.fromkeys(batch(1, 3), 1)


def test_a_stop_puts_back_a_batch_that_has_not_begun():
    play = Play().join()
    play.away = True
    play.start(1, count=3, claimed=False)
    play.tell(StopAsked(10.0))
    play.away = False
    play.run_for(9)
    assert [(end.key, end.state) for end in play.ends] == [(of, AttemptState.LOST) for of in batch(1, 3)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "launch",
                "launch",
                "launch_batch",
                "claim",
                "claim",
                "claim_batch",
                "cancel",
                "end",
                "end",
                "end",
                "gone",
                "away",
                "back",
                "take_over",
                "lose_answer",
                "beat",
                "stop",
            ]
        ),
        st.integers(1, 6),
        st.sampled_from([0.0, 0.1, 1.0, 7.0, 29.0, 45.0]),
    ),
    max_size=50,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.booleans())
def test_whatever_happens(steps, stop_allowed):
    play = Play().join()
    job = 0
    for what, number, passes_s in steps:
        match what:
            case "launch" | "claim" | "launch_batch" | "claim_batch":
                job += 1
                stale = play.generation - 1 if number == 6 else None
                claimed, count = what.startswith("launch"), 3 if what.endswith("batch") else 1
                play.start(job, claimed=claimed, generation=stale, count=count)
                if number == 5:
                    play.start(job, claimed=claimed, generation=stale, count=count)
            case "cancel":
                cancelled = max(job - number, 1)
                live = [of for of in play.held if of.job_id == cancelled] or [key(cancelled)]
                play.to_cancel.update(live)
                play.tell(CancelAsked(live))
            case "end":
                for of in sorted(play.sandboxes)[:number]:
                    play.tell(
                        play.end(of, AttemptState.LOST if of in play.killed else AttemptState.SUCCEEDED)
                    )
            case "gone":
                play.tell(Gone(key(number)))
            case "away" | "back":
                play.away = what == "away"
            case "take_over":
                play.take_over()
            case "lose_answer":
                job += 1
                play.heads[key(job)] = key(job)
                play.held[key(job)] = True
            case "beat":
                play.tell(BeatAsked())
            case "stop" if stop_allowed:
                play.tell(StopAsked(float(number)))
        play.run_for(passes_s)
        _holds(play)
    _comes_to_rest(play)
    _replays(play)


def _holds(play: Play) -> None:
    state = play.state
    assert set(state.running) == play.sandboxes
    assert all(count == 1 for count in play.begun.values())
    silent_s = play.now_s - play.renewed_s
    if silent_s >= RULES.fence_s or not state.joined:
        assert play.sandboxes <= play.killed
    if state.stop_at_s is not None and play.now_s >= state.stop_at_s:
        assert play.sandboxes <= play.killed


def _comes_to_rest(play: Play) -> None:
    """With the store back and the sandboxes done, the worker holds nothing, and neither does the store for it."""
    play.away = False
    play.run_for(200)
    for of in sorted(play.sandboxes):
        play.tell(play.end(of))
    play.run_for(200)
    if play.state.stopping:
        assert play.state.over(play.now_s)
    else:
        assert play.state.unreported == ()
        assert play.state.joined
        assert play.held == {}


def _replays(play: Play) -> None:
    again = WorkerState(RULES)
    for event, at_s, todo in play.log:
        assert again.handle(event, at_s) == todo
