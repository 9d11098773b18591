from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.job import AttemptKey
from tidegate.core.ledger import Allocation, Ledger
from tidegate.errors import LedgerError
from tidegate.testing.scenario import amounts

FIRST, SECOND = AttemptKey(1, 1, 1), AttemptKey(2, 1, 1)


@pytest.fixture
def ledger():
    ledger = Ledger()
    ledger.set_worker("w", 1, amounts(4, "8GiB"))
    yield ledger
    ledger.check()


def test_what_is_allocated_is_no_longer_available(ledger):
    assert ledger.allocate(FIRST, "w", 1, "q", amounts(1, "3GiB"))
    assert (ledger.allocated("w"), ledger.available("w")) == (amounts(1, "3GiB"), amounts(3, "5GiB"))
    assert ledger.live() == {FIRST: Allocation("w", 1, "q", amounts(1, "3GiB"))}
    assert ledger.running("q") == 1


def test_an_attempt_allocates_once_and_releases_once(ledger):
    assert ledger.allocate(FIRST, "w", 1, "q", amounts())
    assert not ledger.allocate(FIRST, "w", 1, "q", amounts())
    assert ledger.release(FIRST)
    assert not ledger.release(FIRST)
    assert (ledger.allocated("w"), ledger.running("q"), dict(ledger.live())) == (amounts(0, 0), 0, {})


def test_it_sells_up_to_the_last_byte_and_not_one_more(ledger):
    assert not ledger.allocate(FIRST, "w", 1, "q", amounts(1, 8 * 2**30 + 1))
    assert ledger.allocate(FIRST, "w", 1, "q", amounts(4, "8GiB"))
    assert not ledger.allocate(SECOND, "w", 1, "q", amounts(0, 1))
    assert ledger.allocate(SECOND, "w", 1, "q", amounts(0, 0))


def test_an_unknown_worker_or_an_old_generation_gets_nothing(ledger):
    assert not ledger.allocate(FIRST, "x", 1, "q", amounts())
    ledger.set_worker("w", 2, amounts(4, "8GiB"))
    assert not ledger.allocate(FIRST, "w", 1, "q", amounts())
    with pytest.raises(KeyError):
        ledger.available("x")


def test_a_new_generation_inherits_what_is_not_released(ledger):
    ledger.allocate(FIRST, "w", 1, "q", amounts(3))
    ledger.set_worker("w", 2, amounts(4, "8GiB"))
    assert not ledger.allocate(SECOND, "w", 2, "q", amounts(2))
    assert ledger.release(FIRST)
    assert ledger.allocate(SECOND, "w", 2, "q", amounts(2))


def test_capacity_may_fall_below_what_is_in_use_and_sells_nothing_until_it_is_back(ledger):
    ledger.allocate(FIRST, "w", 1, "q", amounts(3))
    ledger.allocate(SECOND, "w", 1, "q", amounts(1))
    ledger.set_worker("w", 1, amounts(2, "8GiB"))
    ledger.check()
    assert ledger.available("w").cpu_milli == -2000
    ledger.release(SECOND)
    assert not ledger.allocate(SECOND, "w", 1, "q", amounts(0.001))
    ledger.release(FIRST)
    assert ledger.allocate(SECOND, "w", 1, "q", amounts(2))


@pytest.mark.parametrize(
    ("damage", "story"),
    [
        (lambda ledger: ledger._live.pop(FIRST), "counts Resources"),
        (lambda ledger: ledger._queues.update(q=1), "Queues count"),
        (lambda ledger: ledger._accounts.pop("w"), "unknown 'w'"),
        (
            lambda ledger: (
                ledger._live.update({SECOND: Allocation("w", 1, "q", amounts(4))}),
                ledger._accounts.update(w=replace(ledger._accounts["w"], allocated=amounts(5, "2GiB"))),
                ledger._queues.update(q=1),
            ),
            "is oversold",
        ),
    ],
)
def test_a_ledger_that_does_not_add_up_says_so(damage, story):
    ledger = Ledger()
    ledger.set_worker("w", 1, amounts(4, "8GiB"))
    ledger.allocate(FIRST, "w", 1, "q", amounts())
    damage(ledger)
    with pytest.raises(LedgerError, match=story):
        ledger.check()


def test_a_batch_holds_once_and_until_its_last_end(ledger):
    head, second, third = AttemptKey(1, 1, 1), AttemptKey(1, 2, 1), AttemptKey(1, 3, 1)
    assert ledger.allocate(head, "w", 1, "q", amounts(1, "3GiB"))
    for key in (second, third):
        assert ledger.allocate(key, "w", 1, "q", amounts(0, 0), head)
    assert (ledger.allocated("w"), ledger.running("q")) == (amounts(1, "3GiB"), 1)
    assert ledger.release(head) == ()
    assert ledger.release(head) == ()
    ledger.check()
    assert ledger.release(third) == (third,)
    assert ledger.sharing(head) == {second}
    assert (ledger.allocated("w"), ledger.running("q"), set(ledger.live())) == (
        amounts(1, "3GiB"), 1, {head, second},
    )  # fmt: skip
    assert ledger.release(second) == (second, head)
    assert (ledger.allocated("w"), ledger.running("q"), dict(ledger.live())) == (amounts(0, 0), 0, {})


def test_only_who_is_there_alone_and_has_not_ended_can_be_shared(ledger):
    head, other = AttemptKey(1, 1, 1), AttemptKey(1, 2, 1)
    nothing = amounts(0, 0)
    assert not ledger.allocate(other, "w", 1, "q", nothing, head)
    assert ledger.allocate(head, "w", 1, "q", amounts())
    assert not ledger.allocate(other, "w", 1, "q", amounts(), head)
    assert not ledger.allocate(SECOND, "w", 1, "q", nothing, head)
    assert ledger.allocate(other, "w", 1, "q", nothing, head)
    assert not ledger.allocate(AttemptKey(1, 3, 1), "w", 1, "q", nothing, other)
    assert ledger.release(head) == ()
    assert not ledger.allocate(AttemptKey(1, 3, 1), "w", 1, "q", nothing, head)
    assert ledger.release(other, keep=True) == (other,)
    assert ledger.allocated("w") == amounts()
    ledger.check()
    assert ledger.release(head) == (head,)
