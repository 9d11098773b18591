"""The suite that every bell passes. Two bells of one line ring for each other; a bell inside one process is both."""

from __future__ import annotations

import threading
from typing import NamedTuple

from tidegate.ports import Bell

DEADLINE_S = 20.0


class Pair(NamedTuple):
    """Two ends of one line; the same bell twice where there is only one process."""

    here: Bell
    there: Bell


class BellConformance:
    """Give it a fixture `bells` that makes a `Pair`, whose line stands once somebody has subscribed."""

    def test_a_ring_is_heard_by_all_who_subscribed_here_and_there(self, bells: Pair) -> None:
        heard = [threading.Event() for _ in range(4)]
        ends = [bells.here.subscribe("schedule", event.set) for event in heard[:2]]
        ends += [bells.there.subscribe("schedule", event.set) for event in heard[2:]]
        ring_until(bells.here, "schedule", *heard)
        for event in heard:
            event.clear()
        ring_until(bells.there, "schedule", *heard)
        for end in ends:
            end()

    def test_only_the_topic_that_is_rung_is_heard(self, bells: Pair) -> None:
        ours, other = threading.Event(), threading.Event()
        ends = [bells.there.subscribe("job:1", ours.set)]
        ring_until(bells.here, "job:1", ours)  # the line stands
        ends.append(bells.there.subscribe("job:11", other.set))
        ours.clear()
        ring_until(bells.here, "job:1", ours)
        assert not other.is_set()
        for end in ends:
            end()

    def test_who_has_ended_hears_no_more(self, bells: Pair) -> None:
        gone, still = threading.Event(), threading.Event()
        end_gone = bells.there.subscribe("job:2", gone.set)
        end_still = bells.there.subscribe("job:2", still.set)
        ring_until(bells.here, "job:2", gone, still)
        end_gone()
        end_gone()  # twice is fine
        gone.clear()
        still.clear()
        ring_until(bells.here, "job:2", still)
        assert not gone.is_set()
        end_still()

    def test_a_callback_may_ring_and_subscribe(self, bells: Pair) -> None:
        answered = threading.Event()
        ends = [bells.here.subscribe("answer", answered.set)]

        def answer() -> None:
            ends.append(bells.here.subscribe("more", answered.clear))
            bells.here.ring("answer")

        ends.append(bells.here.subscribe("question", answer))
        ring_until(bells.there, "question", answered)
        for end in ends:
            end()

    def test_a_ring_for_nobody_is_nothing(self, bells: Pair) -> None:
        bells.here.ring("nobody")
        bells.there.ring("nobody")

    def test_many_threads_ring_and_none_is_in_the_way_of_another(self, bells: Pair) -> None:
        heard = [threading.Event() for _ in range(8)]
        ends = [bells.there.subscribe(f"job:{n}", event.set) for n, event in enumerate(heard)]
        threads = [
            threading.Thread(target=ring_until, args=(bells.here, f"job:{n}", event))
            for n, event in enumerate(heard)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(event.is_set() for event in heard)
        for end in ends:
            end()


def ring_until(bell: Bell, topic: str, *events: threading.Event) -> None:
    """Ring until all are set: a ring may be lost, as long as the line does not stand."""
    for _ in range(int(DEADLINE_S / 0.02)):
        bell.ring(topic)
        if all(event.wait(0.02) for event in events):
            return
    raise AssertionError(f"{topic} was not heard within {DEADLINE_S:g} s")
