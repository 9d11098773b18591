"""The invariants of the scheduler, attacked by random worlds.

I1 never oversold · I2 allocations equal the live attempts, of a batch its head's
I3 nothing that fits stays waiting · I5 equal shapes keep priority and order
I9 the same events lead to the same decisions · I10 what is delivered again changes nothing
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core.auditor import (
    ill_batched,
    left_idle,
    misplaced,
    oversold,
    passed_over,
    through_closed_gates,
)
from tidegate.core.job import AttemptKey, Priority, TaskKey
from tidegate.core.resources import Resources
from tidegate.core.states import ExitReason, TaskState
from tidegate.testing.scenario import (
    Cancel,
    End,
    Lose,
    Pass,
    Register,
    Restart,
    SetQueue,
    Submit,
    Wake,
    World,
    a_task,
    a_worker,
)

QUEUES = ["a", "b"]
LABELS = st.sampled_from([None, {"gpu": "yes"}])
SHAPES = [
    (1, "1GiB", None),
    (1, "1GiB", None),
    (2, "1GiB", None),
    (0, "5GiB", None),
    (3, "2GiB", None),
    (9, "1GiB", None),
    (1, "1GiB", {"gpu": "yes"}),
]
REASONS = st.sampled_from(
    [None, None, *(reason for reason in ExitReason if reason is not ExitReason.LEASE_EXPIRED)]
)
JOBS = st.tuples(
    st.sampled_from(QUEUES),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(Priority),
    st.sampled_from(SHAPES),
    st.integers(1, 3),
    st.sampled_from([1, 1, 2, 20]),
)
QUEUE_SETTINGS = [
    (None, False),
    (None, False),
    (None, False),
    (5, False),
    (2, False),
    (0, False),
    (None, True),
]
ONE_IN_FOUR = st.sampled_from([False, False, False, True])
SETS_A_VALUE = (SetQueue, Pass, Wake, Restart)


class Scheduling(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.jobs = 0

    @initialize(cpus=st.integers(2, 6), labels=LABELS)
    def a_first_worker(self, cpus, labels):
        self.world.deliver(Register(a_worker("w1", cpus, "8GiB", labels=labels)))

    @rule(jobs=st.lists(JOBS, min_size=1, max_size=5), tasks=st.sampled_from([1, 2, 3, 9]))
    def submit(self, jobs, tasks):
        for queue, owner, priority, (cpus, memory, labels), max_attempts, batch in jobs:
            self.jobs += 1
            for number in range(1, tasks + 1):
                task = a_task(
                    self.jobs,
                    number,
                    queue=queue,
                    owner=owner,
                    priority=priority,
                    cpus=cpus,
                    memory=memory,
                    labels=labels,
                    batch=batch,
                )
                self.world.deliver(Submit(task, max_attempts))
        self.schedule_with(512)

    @rule(
        name=st.sampled_from(["w1", "w2", "w3"]),
        cpus=st.integers(1, 6),
        memory=st.sampled_from(["2GiB", "8GiB"]),
        labels=LABELS,
        really=ONE_IN_FOUR,
    )
    def register(self, name, cpus, memory, labels, really):
        known = self.world.workers.get(name)
        if known is None or not known.accepting or really:
            generation = known.generation + 1 if known else 1
            self.world.deliver(Register(a_worker(name, cpus, memory, labels=labels, generation=generation)))
        self.schedule_with(512)

    @rule(data=st.data(), really=ONE_IN_FOUR)
    def lose(self, data, really):
        worker = self.world.workers[data.draw(st.sampled_from(sorted(self.world.workers)))]
        if really:
            self.world.deliver(Lose(worker.id, worker.generation))

    @precondition(lambda self: self.world.ledger.live())
    @rule(data=st.data(), count=st.integers(1, 4), budget=st.sampled_from([1, 2, 512]))
    def end(self, data, count, budget):
        for _ in range(min(count, len(self.world.attempts()))):
            key = data.draw(st.sampled_from(sorted(self.world.attempts())))
            self.world.deliver(End(key, data.draw(REASONS), put_back=data.draw(ONE_IN_FOUR)))
        self.schedule_with(budget)

    @precondition(lambda self: self.world.entries)
    @rule(data=st.data())
    def cancel(self, data):
        self.world.deliver(Cancel(data.draw(st.sampled_from(sorted(self.world.entries)))))

    @rule(name=st.sampled_from(QUEUES), setting=st.sampled_from(QUEUE_SETTINGS))
    def set_queue(self, name, setting):
        self.world.deliver(SetQueue(name, *setting))

    @rule()
    def wake(self):
        self.world.deliver(Wake())

    @rule()
    def restart(self):
        self.world.deliver(Restart())

    @rule(budget=st.sampled_from([1, 3, 512]))
    def schedule(self, budget):
        self.schedule_with(budget)

    def schedule_with(self, budget):
        before = self.world.waiting()
        starts = self.world.deliver(Pass(budget))
        queues = self.world.queue_views()
        assert passed_over(before, starts, queues) == []
        assert through_closed_gates(starts, queues) == []
        shapes = {task.key: task.shape for task in before}
        assert misplaced(starts, shapes, self.world.worker_views()) == []
        assert ill_batched(starts, before) == []
        assert len(starts) <= budget
        if len(starts) < budget:
            assert left_idle(self.world.waiting(), self.world.worker_views(), queues) == []

    @rule()
    def a_second_pass_finds_nothing_more(self):
        self.world.deliver(Pass())
        facts = self.world.facts()
        assert self.world.deliver(Pass()) == []
        assert self.world.facts() == facts

    @precondition(lambda self: self.world.log)
    @rule(data=st.data())
    def deliver_again(self, data):
        event = data.draw(st.sampled_from(self.world.log))
        if isinstance(event, SETS_A_VALUE):
            return
        facts = self.world.facts()
        self.world.deliver(event)
        assert self.world.facts() == facts

    @invariant()
    def never_oversold(self):
        assert oversold(self.world.worker_views()) == []

    @invariant()
    def allocations_equal_the_live_attempts(self):
        self.world.ledger.check()
        running = {
            key: entry for key, entry in self.world.entries.items() if entry.state is TaskState.RUNNING
        }
        live = self.world.ledger.live()
        attempts = {AttemptKey(*key, entry.task.attempts) for key, entry in running.items()}
        heads = {live[key].head or key for key in attempts}
        assert set(live) == attempts | heads
        for key, allocation in live.items():
            shape = self.world.entries[key.task].task.shape
            assert allocation.resources == (shape.resources if key in heads else Resources())
        by_worker = dict.fromkeys(self.world.workers, Resources())
        for allocation in live.values():
            by_worker[allocation.worker_id] += allocation.resources
        assert by_worker == {view.id: view.allocated for view in self.world.worker_views()}
        by_queue = Counter(live[key].queue for key in heads)
        assert by_queue == +Counter({name: view.running for name, view in self.world.queue_views().items()})

    @invariant()
    def every_attempt_number_is_used_once(self):
        keys = [start.key for start in self.world.starts]
        assert len(keys) == len(set(keys))

    def teardown(self):
        again = World.replay(self.world.log)
        assert again.starts == self.world.starts
        assert again.facts() == self.world.facts()


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_task_is_never_started_twice_at_once_when_its_worker_returns():
    world = World()
    world.deliver(Register(a_worker("w", generation=1)))
    world.deliver(Submit(a_task(1)))
    (first,) = world.deliver(Pass())
    world.deliver(Lose("w", 1))
    world.deliver(Register(a_worker("w", generation=2)))
    (second,) = world.deliver(Pass())
    world.deliver(End(first.key))
    assert (second.key, second.generation) == ((1, 1, 2), 2)
    assert world.entries[TaskKey(1, 1)].state is TaskState.RUNNING
    world.deliver(End(second.key))
    assert world.entries[TaskKey(1, 1)].state is TaskState.SUCCEEDED
