"""Every rule a submission must pass, apart from the kinds' own."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.job import NO_CEILING_BYTES, NewJob, Priority, TaskOrder
from tidegate.core.plan import WorkerView
from tidegate.core.resources import GIB, MIB, Resources
from tidegate.errors import BrokenInvariant, InvalidInput, NeverFits, TidegateError
from tidegate.ports import IntakeContext, WorkOrder
from tidegate.server.judge import Rules, Submission, judge
from tidegate.testing.fakes import START

LARGE = WorkerView("large", 1, Resources(4000, 8 * GIB, 100 * GIB), Resources())
LABELLED = WorkerView(
    "labelled", 1, Resources(2000, 2 * GIB, 10 * GIB), Resources(), frozenset({("disk", "ssd")})
)


class Echo:
    """A kind that asks for what it is told to."""

    kind = "echo"
    fields = frozenset({"words", "secret"})
    internal_fields = frozenset({"secret"})
    runner = "nowhere:run"

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        return WorkOrder(
            name=str(fields.get("words", "echo")),
            spec=dict(fields),
            request=Resources(1000, 256 * MIB),
            timeout_s=0.0,
        )


RULES = Rules({"echo": Echo()}, "/data", (), 3600.0, lambda names, reader: [])


def judged(fields: Mapping[str, Any], *, internal: bool = False, key: str | None = None) -> NewJob:
    return judge(Submission("ann", fields, key, internal), RULES, (LARGE, LABELLED), START)


def test_defaults_come_from_the_kind_and_the_settings() -> None:
    job = judged({"kind": "echo", "words": "hello"})
    assert (job.name, job.owner, job.queue, job.priority) == ("hello", "ann", "default", Priority.NORMAL)
    assert job.shape.resources == Resources(1000, 256 * MIB)
    assert (job.timeout_s, job.max_attempts, job.created_at) == (3600.0, 1, START)
    assert [task.name for task in job.tasks] == ["hello"]


def test_the_submitter_s_figures_override_the_kind_s() -> None:
    job = judged(
        {"kind": "echo", "cpus": 0.5, "memory": "1GiB", "disk": 10**9, "timeout_s": 5, "max_attempts": 3}
    )
    assert job.shape.resources == Resources(500, GIB, 10**9)
    assert (job.timeout_s, job.max_attempts) == (5.0, 3)


def test_a_mistyped_field_is_answered_with_the_right_one() -> None:
    with pytest.raises(InvalidInput, match=r"Unknown field `wrods`\. Did you mean `words`\?"):
        judged({"kind": "echo", "wrods": "x"})


def test_fields_of_the_service_itself_are_not_for_users() -> None:
    with pytest.raises(InvalidInput, match="Unknown field `secret`"):
        judged({"kind": "echo", "secret": 1})
    job = judged({"kind": "echo", "secret": 1}, internal=True)
    assert (job.queue, job.priority, job.shape.resources.cpu_milli) == ("interactive", Priority.HIGH, 0)


def test_only_a_kind_that_connects_may_ask_for_the_network() -> None:
    class Reach(Echo):
        connects = True

        def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
            return replace(
                super().order(fields, context), tasks=(TaskOrder("one", {"connect_ports": [5432]}),)
            )

    class Sly(Reach):
        connects = False

    def judged_by(kind: Echo) -> NewJob:
        rules = replace(RULES, workloads={"echo": kind})
        return judge(Submission("ann", {"kind": "echo"}), rules, (LARGE,), START)

    assert judged_by(Reach()).tasks[0].spec == {"connect_ports": [5432]}
    with pytest.raises(BrokenInvariant, match="network"):
        judged_by(Sly())


def test_what_no_worker_could_hold_is_refused_with_the_numbers() -> None:
    with pytest.raises(NeverFits) as refused:
        judged({"kind": "echo", "memory": "12GiB"})
    assert refused.value.message == (
        "This job can never start: it asks for 12 GiB of memory, worker 'large' can give at most 8 GiB. "
        "Lower `memory` or add a worker."
    )
    assert refused.value.numbers == {"resource": "memory", "asked": 12 * GIB, "limit": 8 * GIB}


def test_labels_decide_which_worker_counts() -> None:
    fitting = judged({"kind": "echo", "labels": {"disk": "ssd"}, "memory": "2GiB"})
    assert fitting.shape.labels == {("disk", "ssd")}
    with pytest.raises(NeverFits, match="worker 'labelled' can give at most 2 GiB"):
        judged({"kind": "echo", "labels": {"disk": "ssd"}, "memory": "3GiB"})
    with pytest.raises(NeverFits, match="no worker has the labels gpu=yes"):
        judged({"kind": "echo", "labels": {"gpu": "yes"}})


def test_without_any_worker_a_job_may_wait() -> None:
    job = judge(Submission("ann", {"kind": "echo", "memory": "1TiB"}), RULES, (), START)
    assert job.shape.resources.memory_bytes == 1024 * GIB


def test_a_first_start_in_the_past_is_now_and_needs_a_zone() -> None:
    assert judged({"kind": "echo", "not_before": "2025-12-31T23:00:00Z"}).not_before is None
    later = judged({"kind": "echo", "not_before": "2026-01-01T02:00:00+01:00"}).not_before
    assert later is not None
    assert (later - START).total_seconds() == 3600
    with pytest.raises(InvalidInput, match="instant with its zone"):
        judged({"kind": "echo", "not_before": "2026-01-01T02:00:00"})


def test_memory_that_somebody_has_named_is_kept_unless_more_is_allowed() -> None:
    def most_of(**fields: Any) -> int | None:
        return judged({"kind": "echo", **fields}).max_memory_bytes

    assert most_of() == NO_CEILING_BYTES
    assert most_of(memory="128MiB") is None
    assert most_of(memory="128MiB", max_memory="1GiB") == GIB
    assert most_of(max_memory="1GiB") == GIB
    assert judged({"kind": "echo"}, internal=True).max_memory_bytes is None
    with pytest.raises(
        InvalidInput, match="at least the memory that the job asks for first, 128 MiB"
    ) as caught:
        most_of(memory="128MiB", max_memory="64MiB")
    assert caught.value.numbers["field"] == "max_memory"


def test_the_digest_tells_requests_of_one_key_apart() -> None:
    one, same, other = (
        judged({"kind": "echo", **fields}, key="k").request_digest
        for fields in ({"words": "a", "cpus": 1}, {"cpus": 1, "words": "a"}, {"words": "b", "cpus": 1})
    )
    assert one == same != other


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        "kind",
        "name",
        "queue",
        "priority",
        "cpus",
        "memory",
        "max_memory",
        "disk",
        "timeout_s",
        "max_attempts",
        "labels",
        "not_before",
    ]
)


@given(st.dictionaries(names, anything))
def test_whatever_is_sent_is_a_job_or_a_clear_refusal(fields: dict[str, Any]) -> None:
    with suppress(TidegateError):
        job = judged({"kind": "echo", **fields})
        assert job.shape.resources.fits_in(LARGE.allocatable)
        assert job.timeout_s > 0


class Implied(Echo):
    """A kind that a submission means by one of its fields."""

    kind = "implied"
    fields = frozenset({"only_mine", "words"})
    implied_by = frozenset({"only_mine"})


def test_a_field_of_one_kind_alone_says_which_kind_is_meant() -> None:
    rules = replace(RULES, workloads={"echo": Echo(), "implied": Implied()})

    def judged_by_both(fields: Mapping[str, Any]) -> NewJob:
        return judge(Submission("ann", fields), rules, (LARGE,), START)

    assert judged_by_both({"only_mine": 1}).kind == "implied"
    for fields in ({"words": "x"}, {"kind": None, "only_mine": 1}, {"kind": "", "only_mine": 1}):
        with pytest.raises(InvalidInput, match="kind"):
            judged_by_both(fields)
    with pytest.raises(InvalidInput, match="only_mine"):
        judged_by_both({"kind": "echo", "only_mine": 1})
