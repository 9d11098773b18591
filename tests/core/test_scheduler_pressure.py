"""What pressure keeps from starting, and what those are told that wait for it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.criticality import Criticality, of_priority
from tidegate.core.holding import Hold
from tidegate.core.job import Priority
from tidegate.core.plan import QueueView, ReasonCode, Snapshot, WorkerView
from tidegate.core.pressure import Level
from tidegate.core.scheduler import explain, plan
from tidegate.testing.scenario import NOW, a_snapshot, a_task, a_worker

LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH
WARN = Hold(Level.WARN, Criticality.SHEDDABLE_PLUS, 1, 1.0, {"memory_used_percent": 83.25})
CRITICAL = Hold(Level.CRITICAL, Criticality.CRITICAL_PLUS, 1, 1.0)
EMERGENCY = Hold(Level.EMERGENCY, None, 0, 0.0)


def held(hold: Hold | None, name: str = "local", cpus: float = 8) -> WorkerView:
    return replace(a_worker(name, cpus=cpus), level=hold.level if hold else Level.NORMAL, hold=hold)


def started(snapshot: Snapshot) -> list[int]:
    return [start.key.job_id for start in plan(snapshot, NOW).starts]


def test_each_level_begins_its_classes_only() -> None:
    tasks = [a_task(1, priority=LOW), a_task(2, priority=NORMAL), a_task(3, priority=HIGH)]
    assert started(a_snapshot(tasks, [held(None)])) == [3, 2, 1]
    assert started(a_snapshot(tasks, [held(WARN)])) == [3, 2]
    assert started(a_snapshot(tasks, [held(CRITICAL)])) == [3]
    assert started(a_snapshot(tasks, [held(EMERGENCY)])) == []


def test_the_pace_is_for_what_is_not_critical_plus() -> None:
    tasks = [*(a_task(n) for n in (1, 2, 3)), *(a_task(n, priority=HIGH, cpus=0.5) for n in (4, 5, 6))]
    assert started(a_snapshot(tasks, [held(WARN)])) == [4, 5, 6, 1]


def test_another_worker_without_pressure_takes_what_is_held_back() -> None:
    tasks = [a_task(n, priority=LOW) for n in (1, 2)]
    snapshot = a_snapshot(tasks, [held(EMERGENCY, "a"), held(None, "b")])
    assert [start.worker_id for start in plan(snapshot, NOW).starts] == ["b", "b"]


def test_who_waits_for_the_pressure_is_told_so_with_numbers() -> None:
    low, late = a_task(1, priority=LOW), a_task(3)
    snapshot = a_snapshot([low, a_task(2), late], [held(WARN)])
    after = snapshot.after(plan(snapshot, NOW).starts)
    reason = explain(after, low, NOW)
    assert reason.code is ReasonCode.PRESSURE
    assert reason.sentence == (
        "Job 1 is sheddable and waits because worker 'local' is under pressure (warn: memory_used_percent 83.25): only "
        "sheddable_plus jobs and above are started there."
    )
    assert reason.numbers == {
        "worker": "local",
        "level": "warn",
        "criticality": "sheddable",
        "starts_from": "sheddable_plus",
        "memory_used_percent": 83.25,
    }


def test_who_waits_for_the_pace_is_told_the_pace() -> None:
    task = a_task(1)
    reason = explain(a_snapshot([task], [held(WARN._replace(starts_left=0))]), task, NOW)
    assert reason.sentence == (
        "Job 1 waits because worker 'local' is under pressure (warn: memory_used_percent 83.25): at most 1 jobs a second are "
        "started there."
    )
    assert explain(a_snapshot([task], [held(EMERGENCY)]), task, NOW).sentence == (
        "Job 1 waits because worker 'local' is under pressure (emergency): nothing is started there."
    )


def test_without_room_the_want_of_room_is_the_reason() -> None:
    task = a_task(1, cpus=9)
    snapshot = a_snapshot([task], [held(EMERGENCY)])
    assert explain(snapshot, task, NOW).code is ReasonCode.TOO_LARGE


def test_of_a_cap_a_share_is_used_and_at_least_one() -> None:
    def cut(running: int, share: float, cap: int | None = 3) -> Snapshot:
        queue = QueueView("default", running=running, max_concurrent=cap, share=share)
        return replace(a_snapshot([a_task(n) for n in (1, 2, 3, 4)], [held(None)]), queues={"default": queue})

    assert started(cut(0, 0.5)) == [1, 2]
    assert started(cut(0, 0.01)) == [1]
    assert started(cut(0, 0.5, None)) == [1, 2, 3, 4]
    reason = explain(cut(2, 0.5), a_task(1), NOW)
    assert (reason.code, reason.numbers) == (
        ReasonCode.PRESSURE,
        {"queue": "default", "running": 2, "most": 2, "max_concurrent": 3},
    )
    full = explain(cut(3, 0.5), a_task(1), NOW)
    assert (full.code, full.numbers["max_concurrent"]) == (ReasonCode.QUEUE_CAP, 3)


_holds = st.one_of(
    st.none(),
    st.builds(
        Hold,
        st.sampled_from([Level.WARN, Level.CRITICAL, Level.EMERGENCY]),
        st.one_of(st.none(), st.sampled_from(Criticality)),
        st.one_of(st.none(), st.integers(0, 3)),
    ),
)
_tasks = st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from([0.5, 1, 2])), max_size=20)


@given(st.lists(_holds, min_size=1, max_size=3), _tasks)
def test_nothing_starts_where_it_is_held_back_and_all_else_does(
    holds: list[Hold | None], wanted: list[tuple[Priority, float]]
) -> None:
    tasks = [
        a_task(number, priority=priority, cpus=cpus) for number, (priority, cpus) in enumerate(wanted, 1)
    ]
    workers = [held(hold, f"w{index}", cpus=4) for index, hold in enumerate(holds)]
    snapshot = a_snapshot(tasks, workers)
    starts = plan(snapshot, NOW).starts
    classes = {task.key: of_priority(task.priority) for task in tasks}
    for worker in workers:
        here = [classes[start.task] for start in starts if start.worker_id == worker.id]
        if worker.hold is None:
            continue
        assert all(worker.hold.start is not None and work >= worker.hold.start for work in here)
        if worker.hold.starts_left is not None:
            assert sum(work < Criticality.CRITICAL_PLUS for work in here) <= worker.hold.starts_left
    free = snapshot.after(starts)
    for task in tasks:
        if task.key not in {start.task for start in starts}:
            assert explain(free, task, NOW).code in (
                ReasonCode.PRESSURE,
                ReasonCode.RESOURCES,
                ReasonCode.BEHIND,
            )
