from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.job import Shape
from tidegate.core.placement import Room, never_fits, refusal
from tidegate.core.plan import ReasonCode, WorkerView
from tidegate.core.resources import GIB, Resources
from tidegate.testing.scenario import a_worker, amounts


def shape(cpus: float = 1, memory: str = "1GiB", disk: str = "0", **labels: str) -> Shape:
    return Shape(amounts(cpus, memory, disk), frozenset(labels.items()))


def chosen(asked: Shape, *workers: WorkerView) -> str | None:
    worker = Room(workers).probe(asked).find()
    return worker.id if worker else None


def why(asked: Shape, *workers: WorkerView):
    probe = Room(workers).probe(asked)
    assert probe.find() is None
    return probe.refusal("Job 81")


def test_the_worker_that_is_left_with_least_gets_the_task():
    assert (
        chosen(shape(), a_worker("a", 8, "16GiB"), a_worker("b", 8, "16GiB", allocated=amounts(6, "8GiB")))
        == "b"
    )


def test_shares_count_not_amounts():
    roomy = a_worker("a", 64, "64GiB", allocated=amounts(58, "58GiB"))
    small = a_worker("b", 4, "4GiB")
    assert chosen(shape(), roomy, small) == "a"


def test_ties_go_to_the_smaller_id_in_whatever_order_workers_come():
    workers = [a_worker(name) for name in ("c", "a", "b")]
    assert chosen(shape(), *workers) == chosen(shape(), *reversed(workers)) == "a"


def test_labels_acceptance_and_disk_decide_where_a_task_may_go():
    workers = (
        a_worker("draining", labels={"gpu": "a100"}, accepting=False),
        a_worker("other", labels={"gpu": "t4"}),
        a_worker("full", labels={"gpu": "a100"}, disk="1GiB"),
        a_worker("right", labels={"gpu": "a100", "zone": "x"}),
    )
    assert chosen(shape(disk="2GiB", gpu="a100"), *workers) == "right"


def test_what_asks_for_no_cpu_fits_where_no_cpu_is_left():
    assert chosen(shape(cpus=0), a_worker(allocated=amounts(5, 0))) == "local"
    assert chosen(shape(cpus=0.1), a_worker(allocated=amounts(5, 0))) is None


def test_a_worker_without_capacity_is_no_error():
    assert chosen(shape(0, "0"), WorkerView("empty", 1, Resources(), Resources())) == "empty"


def test_many_placements_go_where_a_plain_search_would_put_them():
    chance = random.Random(7)
    workers = [a_worker(f"w{n}", chance.randint(1, 16), f"{chance.randint(1, 32)}GiB") for n in range(20)]
    shapes = [shape(chance.randint(0, 4), f"{chance.randint(1, 6)}GiB") for _ in range(9)]
    free = {worker.id: worker.allocatable for worker in workers}
    totals = dict(free)
    room, refused = Room(workers), 0
    for _ in range(400):
        asked = chance.choice(shapes).resources
        left = {name: free[name] - asked for name in free if asked.fits_in(free[name])}
        shares = {
            name: one.cpu_milli / totals[name].cpu_milli + one.memory_bytes / totals[name].memory_bytes
            for name, one in left.items()
        }
        best = min(sorted(shares), key=shares.__getitem__, default=None)
        probe = room.probe(Shape(asked))
        found = probe.find()
        assert (found and found.id) == best
        if found is None:
            refused += 1
            continue
        free[found.id] -= asked
        probe.take()
    assert 0 < refused < 400


@st.composite
def clusters(draw):
    """Workers of equal, nearly equal and unlike sizes; some hold more than they have, some take no work."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 256)), min_size=1, max_size=4))
    workers = []
    for number in range(draw(st.integers(1, 150))):
        cpus, memory = draw(st.sampled_from(sizes))
        more = draw(st.sampled_from((0, 0, 1, 300)))
        whole = Resources(cpus * 1000 + more, memory * GIB + more, 100 * GIB)
        held = Resources(draw(st.integers(0, cpus * 1100)), draw(st.integers(0, memory)) * GIB)
        labels = frozenset({("gpu", "t4")}) if draw(st.integers(0, 3)) == 0 else frozenset()
        accepting = draw(st.integers(0, 4)) > 0
        workers.append(WorkerView(f"w{number:03}", 1, whole, held, labels, accepting))
    return workers


@given(
    clusters(),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 40), st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_a_search_finds_no_worse_place_than_looking_at_every_worker(workers, asked, order):
    shapes = [
        Shape(Resources(cpu, memory * GIB), frozenset({("gpu", "t4")} if gpu else ()))
        for cpu, memory, gpu in asked
    ]
    room = Room(workers)
    free = {worker.id: worker.available for worker in workers}
    for number in order:
        one = shapes[number % len(shapes)]
        left = {
            worker.id: _free_share(free[worker.id] - one.resources, worker)
            for worker in workers
            if worker.accepting and one.labels <= worker.labels and one.resources.fits_in(free[worker.id])
        }
        probe = room.probe(one)
        found = probe.find()
        assert (found is None) == (not left)
        if found is not None:
            assert left[found.id] == pytest.approx(min(left.values()), abs=1e-9)
            free[found.id] -= one.resources
            probe.take()


def _free_share(free: Resources, worker: WorkerView) -> float:
    whole = worker.allocatable
    return free.cpu_milli / whole.cpu_milli + free.memory_bytes / whole.memory_bytes


def test_without_workers_the_reason_says_so():
    reason = why(shape())
    assert reason.code is ReasonCode.NO_WORKER
    assert reason.sentence == "Job 81 waits for a worker: none is registered."


def test_labels_nobody_has_are_named():
    reason = why(shape(gpu="a100", zone="x"), a_worker("a"), a_worker("b", labels={"gpu": "a100"}))
    assert reason.code is ReasonCode.LABELS
    assert "gpu=a100, zone=x, which none of the 2 workers has" in reason.sentence
    assert "the one worker does not have" in why(shape(gpu="a100"), a_worker("a")).sentence


def test_what_is_too_large_for_every_worker_is_told_the_largest():
    reason = why(
        shape(1, "12GiB"),
        a_worker("tiny", 1, "1GiB"),
        a_worker("local", 4, "9.5GiB", allocated=amounts(1, "9GiB")),
    )
    assert reason.code is ReasonCode.TOO_LARGE
    assert reason.sentence == (
        "Job 81 cannot start: it asks for 12 GiB of memory, worker 'local' can give at most 9.5 GiB of memory. "
        "Lower `memory` or add a worker."
    )
    assert reason.numbers == {
        "worker": "local",
        "asked_memory_bytes": 12 * GIB,
        "limit_memory_bytes": int(9.5 * GIB),
    }


def test_every_amount_that_is_too_large_is_named():
    sentence = why(shape(8, "12GiB", "1TiB"), a_worker(cpus=4, memory="8GiB")).sentence
    assert "8 CPUs and 12 GiB of memory and 1 TiB of disk" in sentence
    assert "Lower `cpus` and `memory` and `disk`" in sentence


def test_no_room_now_is_told_by_the_nearest_worker():
    reason = why(
        shape(2, "4GiB"),
        a_worker("far", allocated=amounts(0, "8GiB")),
        a_worker("near", allocated=amounts(0, "5GiB")),
    )
    assert reason.code is ReasonCode.RESOURCES
    assert (
        reason.sentence == "Job 81 waits for room: 4 GiB of memory asked, 3 GiB available on worker 'near'."
    )
    assert reason.numbers == {
        "worker": "near",
        "asked_memory_bytes": 4 * GIB,
        "available_memory_bytes": 3 * GIB,
    }


def test_capacity_that_was_taken_away_is_not_shown_as_less_than_nothing():
    reason = why(shape(2), a_worker(cpus=2, allocated=amounts(3, 0)))
    assert reason.numbers["available_cpu_milli"] == 0


def test_a_large_worker_that_takes_no_work_is_waited_for():
    reason = why(shape(8), a_worker("small"), a_worker("big", 16, accepting=False))
    assert reason.code is ReasonCode.NO_WORKER
    assert "'big' could run it, but takes no work at the moment" in reason.sentence


@pytest.mark.parametrize(
    ("asked", "code"),
    [(shape(), None), (shape(9), ReasonCode.TOO_LARGE), (shape(gpu="a100"), ReasonCode.LABELS)],
)
def test_what_can_never_fit_is_known_before_it_waits(asked, code):
    reason = never_fits(
        "Job 81", asked, [a_worker(allocated=amounts(4, "8GiB")), a_worker("off", accepting=False)]
    )
    assert (reason and reason.code) is code


def test_without_workers_nothing_is_said_to_never_fit():
    assert never_fits("Job 81", shape(9), []) is None


def test_reasons_go_from_what_waiting_cannot_change_to_what_it_can():
    asked = shape(2, "2GiB", gpu="yes")
    workers: list[WorkerView] = []
    codes = []
    for worker in (
        None,
        a_worker("plain"),
        a_worker("tiny", 1, "1GiB", labels={"gpu": "yes"}),
        a_worker("away", labels={"gpu": "yes"}, accepting=False),
        a_worker("busy", labels={"gpu": "yes"}, allocated=amounts(4, 0)),
    ):
        workers += [worker] if worker else []
        codes.append(refusal("Job 81", asked, workers, [one.available for one in workers]).code)
    assert codes == ["no_worker", "labels", "too_large", "no_worker", "resources"]
