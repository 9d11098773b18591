"""Any values that a reader can hand over come back from any database."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.workloads.targets.support import Lab

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ROWS = st.lists(
    st.tuples(
        st.none() | st.booleans(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.dates(dt.date(1, 1, 1)),
        st.none() | st.datetimes(),
        st.none() | st.times(),
        st.none() | TEXTS,
    ),
    min_size=1,
    max_size=8,
)
_MIDNIGHT = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
COLUMNS = (
    "n BIGINT, b BOOLEAN, i BIGINT, h DECIMAL(38,0), d DOUBLE, dt DATE, ts TIMESTAMP, tm TIME, s VARCHAR"
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_values_come_back_as_they_were(lab: Lab, values: list[tuple[Any, ...]]) -> None:
    lab.con.execute(f"CREATE OR REPLACE TABLE given ({COLUMNS})")
    lab.con.executemany(
        f"INSERT INTO given VALUES ({', '.join('?' * 9)})", [(n, *row) for n, row in enumerate(values)]
    )
    lab.load("FROM given ORDER BY n", mode="replace", content=repr(values))
    found = lab.rows("SELECT b, i, h, d, dt, ts, tm, s FROM t ORDER BY n")
    assert [tuple(map(plain, row)) for row in found] == [tuple(map(plain, row)) for row in values]


def plain(value: Any) -> Any:
    """Times and numbers as text: each driver answers them in Python types of its own."""
    if isinstance(value, dt.timedelta):
        value = (_MIDNIGHT + value).time()
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(value + 0.0)
    if isinstance(value, dt.datetime | dt.time):
        return str(value.replace(microsecond=0)) + (
            f".{value.microsecond:06}".rstrip("0") if value.microsecond else ""
        )
    text = str(value)
    return text.rstrip("0") if text.count(":") == 2 and "." in text else text
