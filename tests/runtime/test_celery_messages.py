"""What goes into a message to a worker."""

from __future__ import annotations

from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.resources import Resources
from tidegate.runtime.celery import MOST_IN_MESSAGE, _by_worker, _messages


def batch(job_id: int, count: int) -> list[Start]:
    keys = [AttemptKey(job_id, number, 1) for number in range(1, count + 1)]
    heads = [None, *[keys[0]] * (count - 1)]
    return [
        Start(key, "default", "w", 1, Resources(), head=head) for key, head in zip(keys, heads, strict=True)
    ]


def test_a_batch_comes_in_one_message_whatever_stands_between_its_starts() -> None:
    first, second = batch(1, 64), batch(2, 64)
    mixed = [start for pair in zip(first, second, strict=True) for start in pair]
    ((worker, sandboxes),) = _by_worker(mixed).items()
    assert worker == ("w", 1)
    assert sandboxes == [[start.key for start in first], [start.key for start in second]]


def test_messages_are_bounded_and_divide_no_batch() -> None:
    sandboxes = [[start.key for start in batch(job_id, 64)] for job_id in range(1, 21)]
    messages = list(_messages(sandboxes))
    assert [key for message in messages for key in message] == [key for keys in sandboxes for key in keys]
    assert all(len(message) <= MOST_IN_MESSAGE and len(message) % 64 == 0 for message in messages)
    assert len(messages) == 3
    assert list(_messages([])) == []
