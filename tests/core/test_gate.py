from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.core.crowd import Client, Crowd
from tidegate.core.book import EARLY_S, LIFE_S, LONGEST_S, TICKETS, Book
from tidegate.core.criticality import Criticality
from tidegate.core.gate import Full, Gate, LetIn, Refused, Waits

CONTROL, CRITICAL, SHEDDABLE = Criticality.CONTROL, Criticality.CRITICAL, Criticality.SHEDDABLE
CRITICAL_PLUS = Criticality.CRITICAL_PLUS


def enter(gate: Gate, work: Criticality = CRITICAL, now_s: float = 0.0, ticket: str | None = None) -> Any:
    return gate.enter(work, now_s, ticket)


def refuse(gate: Gate, now_s: float, ahead: int, offer: str = "a ticket", chance: float = 0.5) -> Refused:
    return gate.refuse(now_s, ahead=ahead, offer=offer, chance=chance)


def full_gate(slots: int = 10, per_second: float = 10.0) -> tuple[Gate, float]:
    """A gate whose slots are taken, all but that of control, and that was seen to answer so many a second; and the time."""
    gate, now_s = Gate(0.0, fixed=slots), 0.0
    while isinstance(enter(gate, now_s=now_s), LetIn):
        pass
    for _ in range(20):
        now_s += 1 / per_second
        assert len(gate.leave(None, now_s)) <= 1
        while gate.in_flight < slots - 1:
            enter(gate, now_s=now_s)
    while gate.waiting:
        now_s += 1 / per_second
        gate.leave(None, now_s)
    return gate, now_s


def test_as_many_as_there_are_slots_are_let_in_and_a_tenth_is_kept_for_control():
    gate = Gate(0.0)
    answers = [enter(gate) for _ in range(19)]
    assert [isinstance(answer, LetIn) for answer in answers] == [True] * 18 + [False]
    assert isinstance(enter(gate, CONTROL), LetIn)
    assert gate.in_flight == 19


def test_control_is_never_refused_and_never_waits():
    gate, now_s = full_gate()
    assert all(isinstance(enter(gate, CONTROL, now_s), LetIn) for _ in range(1000))


def test_whoever_can_be_let_in_within_a_second_waits():
    gate, now_s = full_gate(per_second=10)
    assert gate.per_second(now_s) == pytest.approx(10)
    answers = [enter(gate, now_s=now_s) for _ in range(11)]
    assert [type(answer) for answer in answers] == [Waits] * 10 + [Full]
    assert answers[0].number in gate.leave(None, now_s)


def test_a_refusal_says_when_there_will_be_room_and_the_next_one_later():
    gate, now_s = full_gate(per_second=10)
    first, second = (refuse(gate, now_s, 25, name) for name in "ab")
    assert first.retry_after_s == pytest.approx(2.5)
    # A place further on: all who were told a time are thought to come back, to eight tenths of the rate.
    assert second.retry_after_s == pytest.approx(2.5 + 1 / 8, abs=0.01)
    assert second.ahead == 26
    assert second.per_second == pytest.approx(10)


def test_times_differ_by_a_fifth_to_both_sides():
    gate, now_s = full_gate(per_second=10)
    told = [refuse(gate, now_s, 100, chance=chance).retry_after_s for chance in (0, 1)]
    assert told == pytest.approx([8.0, 12.1], abs=0.1)


def test_the_more_critical_go_first_and_the_first_of_a_class_before_the_later():
    gate, now_s = full_gate(per_second=100)
    order = [SHEDDABLE, CRITICAL, CRITICAL_PLUS, CRITICAL, SHEDDABLE]
    numbers = [enter(gate, work, now_s).number for work in order]
    let_in = [number for _ in numbers for number in gate.leave(None, now_s)]
    assert let_in == [numbers[at] for at in (2, 1, 3, 0, 4)]


def test_sheddable_requests_are_refused_while_critical_ones_still_wait():
    gate, now_s = full_gate(per_second=10)
    for _ in range(10):
        assert isinstance(enter(gate, CRITICAL, now_s), Waits)
    assert gate.would_refuse(SHEDDABLE, now_s)
    assert isinstance(enter(gate, SHEDDABLE, now_s), Full)
    assert not gate.would_refuse(CRITICAL_PLUS, now_s)
    assert isinstance(enter(gate, CRITICAL_PLUS, now_s), Waits)


def test_a_ticket_brings_its_holder_before_others_of_his_class_but_not_before_its_time():
    gate, now_s = full_gate(per_second=10)
    told_s = refuse(gate, now_s, 10, "mine").retry_after_s
    stranger = enter(gate, now_s=now_s)
    early = enter(gate, now_s=now_s, ticket="mine")
    holder = enter(gate, now_s=now_s + told_s, ticket="mine")
    again = enter(gate, now_s=now_s + told_s, ticket="mine")
    above = enter(gate, CRITICAL_PLUS, now_s + told_s)
    order = [number for _ in range(5) for number in gate.leave(None, now_s + told_s)]
    assert order == [one.number for one in (above, holder, stranger, early, again)]


def test_one_who_comes_when_told_is_kept_for_longer():
    gate, now_s = full_gate(per_second=10)
    for _ in range(10):
        assert enter(gate, now_s=now_s).for_s == 1.0
    told = refuse(gate, now_s, 10, "mine")
    now_s += told.retry_after_s
    assert enter(gate, now_s=now_s, ticket="mine").for_s == 2.0


def test_nobody_who_has_gone_away_is_let_in():
    gate, now_s = full_gate(per_second=10)
    gone, stays = (enter(gate, now_s=now_s).number for _ in range(2))
    assert gate.give_up(gone)
    assert not gate.give_up(gone)
    assert gate.leave(None, now_s) == [stays]


def test_a_server_that_stands_still_is_seen_to_do_so():
    gate, now_s = full_gate(per_second=100)
    assert 0 < gate.per_second(now_s + 10) < 1.2  # not the ten or so that it has answered lately
    assert isinstance(enter(gate, now_s=now_s + 10), Waits)
    assert enter(gate, now_s=now_s + 10) == Full(1)
    assert refuse(gate, now_s + 10, 1).retry_after_s > 1


def test_idle_times_say_nothing_about_the_rate():
    gate = Gate(0.0)
    for number in range(20):
        enter(gate, now_s=100.0 * number)
        gate.leave(0.01, 100.0 * number + 0.01)
    assert gate.per_second(5000.0) == pytest.approx(1 / 0.01)


def test_what_was_never_full_promises_what_was_seen_and_hopes_for_more():
    gate = Gate(0.0)
    for number in range(20):  # six at a time, each takes 0.6 s: ten in a second
        for _ in range(6):
            enter(gate, now_s=0.6 * number)
        for _ in range(6):
            gate.leave(0.6, 0.6 * number + 0.6)
    now_s = 12.0
    answers = [enter(gate, now_s=now_s) for _ in range(60)]
    assert sum(isinstance(one, LetIn) for one in answers) == 18
    assert sum(isinstance(one, Waits) for one in answers) == pytest.approx(30, abs=1)  # 18 slots, 0.6 s each
    assert refuse(gate, now_s, 30).per_second == pytest.approx(10)


def test_the_limit_is_learned_from_samples_and_a_fixed_one_is_not():
    learned, fixed = Gate(0.0), Gate(0.0, fixed=20)
    for gate in (learned, fixed):
        for number in range(600):
            for _ in range(18):
                enter(gate, now_s=number * 0.1)
            for _ in range(18):
                gate.leave(0.01, number * 0.1 + 0.09)
    assert learned.limit == 36  # twice what is used
    assert fixed.limit == 20


# With a crowd


def test_at_three_times_the_load_all_work_is_done_and_those_who_come_when_told_are_let_in():
    crowd = Crowd(servers=2, takes_s=0.05, per_second=120)
    crowd.run(120)
    assert len(crowd.answered) >= 0.98 * 40 * 120
    assert sum(crowd.next_try) / len(crowd.next_try) > 0.9
    assert len(crowd.next_try) > 1000


@pytest.mark.parametrize("obeying", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("takes_s", "per_second"), [(0.3, 20), (0.005, 1200)])
def test_so_it_is_for_slow_and_fast_work_and_however_many_obey(
    takes_s: float, per_second: float, obeying: float
):
    crowd = Crowd(servers=2, takes_s=takes_s, per_second=per_second, obeying=obeying)
    crowd.run(60 if takes_s > 0.1 else 10)
    assert len(crowd.answered) >= 0.95 * (2 / takes_s) * crowd.now_s
    assert sum(crowd.next_try) >= 0.8 * len(crowd.next_try)


def test_those_who_come_when_told_are_let_in_although_the_machine_has_become_slower():
    crowd = Crowd(servers=2, takes_s=0.05, per_second=120)
    crowd.at(20.0, crowd.slow_down, 1.5)
    crowd.run(120)
    assert sum(crowd.next_try) >= 0.9 * len(crowd.next_try)
    assert len(crowd.answered) >= 0.98 * (20 + 100 / 1.5) * 40


def test_in_a_flood_that_lasts_no_more_are_let_in_than_are_answered_in_a_second():
    crowd = Crowd(servers=2, takes_s=0.1, per_second=60)
    crowd.run(300)
    assert crowd.gate.limit == 20  # by the gradient alone it has crept up to 128, and answers take 6.8 s
    assert max(crowd.took_s) < 3.0


def test_where_few_obey_the_times_that_are_told_do_not_run_away():
    crowd = Crowd(servers=2, takes_s=0.05, per_second=120, obeying=0.0)
    crowd.run(120)
    # Were all thought to come back, the last would be told four minutes.
    assert max(crowd.told_s) < 90


def test_below_its_capacity_nobody_is_refused():
    crowd = Crowd(servers=2, takes_s=0.05, per_second=36)
    crowd.run(120)
    assert crowd.told_s == []


def test_a_burst_is_worked_off_without_a_refusal():
    crowd = Crowd(servers=2, takes_s=0.002, per_second=1)
    for _ in range(500):
        crowd.at(5.0, crowd.come, Client(CRITICAL))
    crowd.run(10)
    assert crowd.told_s == []
    assert len(crowd.answered) > 500


# The book


def test_places_are_given_until_the_book_is_full_and_never_beyond_ten_minutes():
    book = Book()
    told = [book.place(0.0, ahead=0, per_second=100, offer=str(n), chance=0.5) for n in range(TICKETS + 5)]
    assert max(seconds for seconds, _ in told) <= LONGEST_S
    assert sum(noted for _, noted in told) == TICKETS


def test_tickets_that_do_not_come_back_are_forgotten_and_learned_from():
    book = Book()
    book.place(0.0, ahead=0, per_second=10, offer="a", chance=0.5)
    before = book.returning
    book.place(2 + LIFE_S, ahead=0, per_second=10, offer="b", chance=0.5)
    assert book.due == 1
    assert book.returning < before
    assert not book.redeem("a", 2 + LIFE_S)
    told_s, _ = book.place(2 + LIFE_S, ahead=0, per_second=10, offer="c", chance=0.5)
    assert not book.redeem("c", 2 + LIFE_S + told_s - 2 * EARLY_S)
    assert book.redeem("c", 2 + LIFE_S + told_s)
    assert not book.redeem("c", 2 + LIFE_S + told_s)


# Whatever happens


class GateMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(0.0)
        self.now_s = 0.0
        self.inside = 0
        self.control = 0
        self.waiting: list[int] = []
        self.offers = 0

    @rule(
        work=st.sampled_from(Criticality), chance=st.floats(0, 1, exclude_max=True), count=st.integers(1, 30)
    )
    def come(self, work: Criticality, chance: float, count: int) -> None:
        for _ in range(count):
            self.offers += 1
            ticket = str(self.offers - 7)
            answer = self.gate.enter(work, self.now_s, ticket)
            if isinstance(answer, LetIn):
                self.inside += 1
                assert work is CONTROL or self.gate.in_flight <= 0.9 * self.gate.limit
            elif isinstance(answer, Waits):
                assert work is not CONTROL
                assert self.gate.in_flight >= int(0.9 * self.gate.limit)
                self.waiting.append(answer.number)
            else:
                assert work is not CONTROL
                refused = refuse(self.gate, self.now_s, answer.ahead, str(self.offers), chance)
                assert 1 <= refused.retry_after_s <= LONGEST_S

    @precondition(lambda self: self.inside)
    @rule(took_s=st.none() | st.floats(0, 100), after_s=st.floats(0, 10), count=st.integers(1, 30))
    def end(self, took_s: float | None, after_s: float, count: int) -> None:
        for _ in range(min(count, self.inside)):
            self.now_s += after_s
            let_in = self.gate.leave(took_s, self.now_s)
            assert set(let_in) <= set(self.waiting)
            self.waiting = [number for number in self.waiting if number not in let_in]
            self.inside += len(let_in) - 1

    @precondition(lambda self: self.waiting)
    @rule()
    def go_away(self) -> None:
        assert self.gate.give_up(self.waiting.pop())
        refuse(self.gate, self.now_s, self.gate.waiting)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def counts_are_right_and_no_slot_is_idle_while_somebody_waits(self) -> None:
        assert self.gate.in_flight == self.inside
        assert self.gate.waiting == len(self.waiting)
        assert not self.waiting or self.gate.in_flight >= int(0.9 * self.gate.limit)
        assert self.gate.per_second(self.now_s) >= 0


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
