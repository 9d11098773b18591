from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tidegate.testing.history import AttemptSeen, CancelTold, Fault, History, JobSeen, Submitted, judge


def job(job_id: str = "1", status: str = "SUCCEEDED", **changes) -> JobSeen:
    seen = JobSeen(
        job_id,
        status,
        (AttemptSeen(1, "lost", "a"), AttemptSeen(2, status.lower(), "b")),
        ((1, "accepted"), (4, "started"), (9, status.lower())),
        f"async_result_{job_id}",
        int(job_id) * 10,
    )
    return replace(seen, **changes)


def a_history(*jobs: JobSeen) -> History:
    return History(
        seed=7,
        submitted=[Submitted(one.job_id, f"key-{one.job_id}", int(one.job_id) * 10) for one in jobs],
        cancels=[CancelTold(one.job_id, "RUNNING") for one in jobs if one.status == "CANCELLED"],
        faults=[Fault("kill -9", "worker a", 1.5)],
        jobs={one.job_id: one for one in jobs},
        sources=[(str(one.source), one.job_id) for one in jobs if one.status == "SUCCEEDED"],
    )


def broken(history: History) -> set[str]:
    return {violation.promise for violation in judge(history)}


def test_a_history_in_which_all_was_kept_has_no_violation():
    assert judge(a_history(job(), job("2", "CANCELLED"))) == []


def test_a_history_survives_being_written_down():
    history = a_history(job(), job("2", "CANCELLED"))
    assert History.from_json(json.loads(json.dumps(history.as_json()))) == history


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (job(status="RUNNING"), "nothing lost"),
        (job(status="FAILED"), "nothing lost"),
        (job(attempts=(AttemptSeen(1, "lost", "a"), AttemptSeen(3, "succeeded", "b"))), "attempts in order"),
        (job(attempts=(AttemptSeen(1, "succeeded", "a"), AttemptSeen(2, "succeeded", "b"))), "attempts in order"),
        (job(attempts=(AttemptSeen(1, "running", "a"),)), "attempts in order"),
        (job(events=((1, "accepted"), (9, "succeeded"), (10, "succeeded"))), "ends once"),
        (job(events=((1, "accepted"), (10, "started"), (9, "succeeded"))), "events in order"),
        (job(answer=11), "effects once"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_named(seen, promise):
    assert promise in broken(a_history(seen))


def test_an_accepted_job_that_is_gone_is_lost():
    history = a_history(job())
    history.jobs.clear()
    assert broken(history) == {"nothing lost"}


def test_a_key_that_made_two_jobs_is_told():
    history = a_history(job(), job("2"))
    history.submitted[1] = replace(history.submitted[1], key="key-1")
    assert broken(history) == {"nothing doubled"}


def test_a_job_that_succeeds_after_its_cancel_is_told_but_not_one_that_had_ended():
    history = a_history(job(), job("2"))
    history.cancels = [CancelTold("1", "RUNNING"), CancelTold("2", "SUCCEEDED")]
    assert [violation.sentence for violation in judge(history)] == [
        "Job 1 succeeded after its cancel was acknowledged."
    ]


def test_results_that_are_there_twice_or_of_jobs_that_failed_are_told():
    history = a_history(job(), job("2", "CANCELLED"))
    history.sources += [("again", "1"), ("half", "2")]
    assert [violation.promise for violation in judge(history)] == ["effects once", "effects once"]


def test_what_audits_found_and_what_was_left_over_is_told():
    history = a_history(job())
    history.audits, history.orphans, history.unfinished = ["oversold"], ["process 7"], ["9"]
    assert broken(history) == {"no oversell", "no orphan", "progress"}


def an_archive(**changes) -> JobSeen:
    """Two files, the second of which ran in its second attempt."""
    others = (
        (AttemptSeen(1, "succeeded", "a"),),
        (AttemptSeen(1, "lost", "a"), AttemptSeen(2, "succeeded", "b")),
    )
    return replace(job(answer=2, source=None, others=others), **changes)


@pytest.mark.parametrize(
    ("seen", "promises"),
    [
        (an_archive(), set()),
        (an_archive(answer=1), {"effects once"}),
        (an_archive(others=((AttemptSeen(2, "succeeded", "a"),),)), {"attempts in order"}),
        (an_archive(others=((AttemptSeen(1, "running", "a"),),)), {"attempts in order"}),
    ],
)  # fmt: skip
def test_an_archive_has_a_report_on_each_file_and_no_source(seen, promises):
    history = a_history(seen)
    history.submitted = [Submitted(seen.job_id, "key", 2, many=True)]
    history.sources = []
    assert broken(history) == promises
    assert History.from_json(json.loads(json.dumps(history.as_json()))) == history
