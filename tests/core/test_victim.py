"""Who is ended when the machine cannot be saved otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.criticality import Criticality
from tidegate.core.job import AttemptKey
from tidegate.core.resources import GIB
from tidegate.core.victim import Candidate, choose

AT = datetime(2026, 1, 31, 8, tzinfo=UTC)
SHEDDABLE, _, CRITICAL, CRITICAL_PLUS, _ = Criticality


def candidate(
    number: int,
    work: Criticality = CRITICAL,
    *,
    retriable: bool = True,
    used: float = 0.5,
    reserved: int = GIB,
    age_s: float = 60,
) -> Candidate:
    return Candidate(
        AttemptKey(number, 1, 1),
        work,
        retriable,
        int(used * reserved),
        reserved,
        AT - timedelta(seconds=age_s),
    )


def chosen(*candidates: Candidate) -> int:
    victim = choose(candidates)
    assert victim is not None
    return victim.key.job_id


def test_nobody_runs() -> None:
    assert choose([]) is None


def test_the_least_critical_goes_first_however_honest() -> None:
    assert chosen(candidate(1, CRITICAL, used=3.0), candidate(2, SHEDDABLE, used=0.1)) == 2


def test_of_a_class_who_is_over_his_reservation_goes_before_who_is_not() -> None:
    assert chosen(candidate(1, retriable=True), candidate(2, used=1.01, retriable=False)) == 2


def test_then_who_will_be_tried_again() -> None:
    assert chosen(candidate(1, retriable=False, used=0.9), candidate(2, retriable=True, used=0.1)) == 2


def test_then_who_uses_most_of_his_reservation_not_who_uses_most() -> None:
    assert chosen(candidate(1, used=0.5, reserved=16 * GIB), candidate(2, used=0.9)) == 2


def test_then_the_youngest() -> None:
    assert chosen(candidate(1, age_s=100), candidate(2, age_s=5), candidate(3, age_s=50)) == 2


_candidates = st.lists(
    st.builds(
        candidate,
        st.integers(1, 10**6),
        st.sampled_from([work for work in Criticality if work is not Criticality.CONTROL]),
        retriable=st.booleans(),
        used=st.floats(0, 4),
        reserved=st.integers(1, 64 * GIB),
        age_s=st.floats(0, 1e6),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda one: one.key,
)


@given(_candidates)
def test_the_honest_are_never_ended_while_anybody_of_their_class_or_below_is_over(
    running: list[Candidate],
) -> None:
    victim = choose(running)
    assert victim in running
    assert victim is not None
    if not victim.over:
        assert not any(one.over and one.work <= victim.work for one in running)
    assert victim.work == min(one.work for one in running)


@given(_candidates, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order(running: list[Candidate], chance: object) -> None:
    shuffled = list(running)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(shuffled) == choose(running)
