"""The store on a real PostgreSQL."""

import pytest
from sqlalchemy import bindparam, select

from tidegate.errors import BrokenInvariant
from tidegate.store import open_store
from tidegate.store.engine import Duplicate, Statement, Unstorable
from tidegate.store.queues import all_queues
from tidegate.store.schema import events, queues
from tidegate.store.shared import insert_into, value_of
from tidegate.testing.conformance.store import StoreConformance


class TestPostgresql(StoreConformance):
    @pytest.fixture
    def store(self, empty_postgresql):
        store = open_store(empty_postgresql())
        yield store
        store.close()


@pytest.fixture
def opened(empty_postgresql):
    store = open_store(empty_postgresql())
    yield store
    store.close()


ADD = insert_into(queues, "name weight paused")
EVENT = insert_into(events, "job_id id task_number at type message data")
SET_WEIGHT = Statement(
    queues.update().values(weight=bindparam("now")).where(queues.c.name == bindparam("queue")), "now queue"
)


def test_a_row_that_is_missing_is_found_before_anything_is_committed(opened):
    def work(tx):
        tx.each(ADD, [("one", 1, 0), ("two", 1, 0)])
        tx.each(SET_WEIGHT, [(5, "one"), (5, "three")])

    with pytest.raises(BrokenInvariant, match="nothing was stored"):
        opened._db.write(work)
    assert [queue.name for queue in opened.queues() if queue.name in ("one", "two")] == []


def test_what_was_not_sent_yet_is_seen_by_what_is_asked_next(opened):
    def work(tx):
        tx.each(ADD, [("one", 1, 0)])
        tx.do(SET_WEIGHT, (3, "one"))
        seen = [queue.weight for queue in all_queues(tx, None) if queue.name == "one"]
        tx.each(SET_WEIGHT, [(4, "one")])
        return seen, tx.connection.scalar(select(queues.c.weight).where(queues.c.name == "one"))

    assert opened._db.write(work) == ([3], 4)
    assert opened.queue("one").weight == 4


def test_a_key_that_is_taken_is_found_when_it_is_sent_with_the_commit(opened):
    opened._db.write(lambda tx: tx.each(ADD, [("one", 1, 0)]))
    with pytest.raises(Duplicate):
        opened._db.write(lambda tx: tx.each(ADD, [("two", 1, 0), ("one", 1, 0)]))
    for _ in range(
        20
    ):  # long enough for the driver to have prepared statements, which a roll back makes it forget
        opened._db.write(lambda tx: tx.each(SET_WEIGHT, [(2, "one")]))
        with pytest.raises(Duplicate):
            opened._db.write(lambda tx: tx.each(ADD, [("one", 1, 0)]))
    assert opened.queue("one").weight == 2
    assert "two" not in [queue.name for queue in opened.queues()]


def test_many_rows_do_not_wait_to_be_sent(opened):
    def work(tx):
        waited = []
        for first in range(0, 20_000, 2000):
            tx.each(ADD, [(f"queue-{first + i}", 1, 0) for i in range(2000)])
            waited.append(tx._unsent_rows)
        return max(waited)

    assert opened._db.write(work) <= 4000
    assert len(opened.queues()) >= 20_000


def test_numbers_follow_each_other_however_many_rows_take_them(opened):
    def work(tx):
        tx.number("event", EVENT, [(7, i, None, 0, "told", str(i), "{}") for i in range(4500)])
        tx.number("event", EVENT, [(7, 0, None, 0, "told", "last", "{}")])
        before = value_of(tx, "event")
        found = tx.connection.execute(select(events.c.id, events.c.message).order_by(events.c.id)).all()
        return before, [tuple(row) for row in found if row.message != "accepted"]

    newest, found = opened._db.write(work)
    assert [message for _, message in found] == [*map(str, range(4500)), "last"]
    assert [number for number, _ in found] == list(range(newest - 4500, newest + 1))


def test_a_counter_that_is_missing_is_found(opened):
    with pytest.raises(Unstorable):
        opened._db.write(lambda tx: tx.number("nothing", EVENT, [(7, 0, None, 0, "told", "", "{}")]))
