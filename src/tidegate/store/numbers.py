"""The counters that number jobs, changes and events, as every database has them."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from tidegate.store.engine import Statement
from tidegate.store.schema import sequences

ADVANCE = Statement(
    sequences.update()
    .values(value=sequences.c.value + bindparam("count"))
    .where(sequences.c.name == bindparam("sequence")),
    "count sequence",
)
ADVANCE_RETURNING = Statement(
    sequences.update()
    .values(value=sequences.c.value + bindparam("count"))
    .where(sequences.c.name == bindparam("sequence"))
    .returning(sequences.c.value),
    "count sequence",
)
VALUE = Statement(select(sequences.c.value).where(sequences.c.name == bindparam("sequence")), "sequence")
