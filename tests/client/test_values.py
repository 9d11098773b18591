"""From JSON to Python values by SQL type."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.client.files import LineSplitter
from tidegate.client.values import LineReader, reader_of


@pytest.mark.parametrize(
    ("type_text", "sent", "meant"),
    [
        ("DATE", "2024-01-31", date(2024, 1, 31)),
        ("DATE", "infinity", "infinity"),
        ("DATE", "12024-01-31", "12024-01-31"),
        ("TIME", "08:30:00.5", time(8, 30, 0, 500_000)),
        ("TIMESTAMP", "2024-01-31 08:30:00", datetime(2024, 1, 31, 8, 30)),  # noqa: DTZ001  it has no zone
        ("TIMESTAMP WITH TIME ZONE", "2024-01-31 08:30:00+00", datetime(2024, 1, 31, 8, 30, tzinfo=UTC)),
        ("DECIMAL(18,3)", "1.500", Decimal("1.500")),
        ("DECIMAL(18,3)", Decimal("1.5"), Decimal("1.5")),
        ("DOUBLE", "NaN", pytest.approx(float("nan"), nan_ok=True)),
        ("DOUBLE", Decimal("0.5"), 0.5),
        ("BLOB", "a\\xFF\\x00", b"a\xff\x00"),
        ("DATE[]", ["2024-01-31", None], [date(2024, 1, 31), None]),
        ("DATE[2][]", [["2024-01-31"]], [[date(2024, 1, 31)]]),
        ("STRUCT(d DATE, n VARCHAR)", {"d": "2024-01-31", "n": "x"}, {"d": date(2024, 1, 31), "n": "x"}),
        ('STRUCT("a ""b"", c" DATE)', {'a "b", c': "2024-01-31"}, {'a "b", c': date(2024, 1, 31)}),
        ("STRUCT(p DECIMAL(9,2), q DATE)", {"p": "1.50", "q": None}, {"p": Decimal("1.50"), "q": None}),
        ("MAP(DATE, DATE)", {"2024-01-31": "2024-02-01"}, {date(2024, 1, 31): date(2024, 2, 1)}),
        ("MAP(VARCHAR, DATE)", [{"key": "a", "value": "2024-02-01"}], {"a": date(2024, 2, 1)}),
    ],
)
def test_values_become_those_of_python(type_text, sent, meant):
    reader = reader_of(type_text)
    assert reader is not None
    assert reader(sent) == meant


@pytest.mark.parametrize(
    "type_text", ["INTEGER", "VARCHAR", "HUGEINT", "BOOLEAN", "INTEGER[]", "STRUCT(a INTEGER)"]
)
def test_values_that_are_right_already_are_left_alone(type_text):
    assert reader_of(type_text) is None


def test_bytes_of_answers_come_as_base64():
    reader = reader_of("STRUCT(b BLOB)", base64_blobs=True)
    assert reader is not None
    assert reader({"b": base64.b64encode(b"\xff\x00").decode()}) == {"b": b"\xff\x00"}


def test_decimals_in_lines_keep_all_their_digits():
    read = LineReader([("exact", "DECIMAL(38,18)"), ("rough", "DOUBLE"), ("none", "DATE")])
    row = read('{"exact": 12345678901234567890.123456789012345678, "rough": 0.5, "none": null}')
    assert row == {"exact": Decimal("12345678901234567890.123456789012345678"), "rough": 0.5, "none": None}
    assert type(row["rough"]) is float


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)),
    st.data(),
)
def test_lines_are_cut_at_line_feeds_only_however_they_arrive(lines, data):
    content = "".join(f"{line}\n" for line in lines).encode()
    splitter, found = LineSplitter(), []
    while content:
        size = data.draw(st.integers(1, len(content)))
        found += splitter.feed(content[:size])
        content = content[size:]
    assert found + splitter.flush() == [line for line in lines if line.encode().strip()]
