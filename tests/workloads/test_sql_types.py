"""Values as JSON and as Parquet, by type: nothing is lost without being said."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.workloads.lab import Failed, Lab

HUGE = 170141183460469231731687303715884105727

JSON_VALUES: list[tuple[str, Any]] = [
    ("null", None),
    ("true", True),
    ("1::tinyint", 1),
    ("9223372036854775807", 9223372036854775807),
    ("18446744073709551615::ubigint", 18446744073709551615),
    (str(HUGE), HUGE),
    ("1::uhugeint", 1),
    (
        "12345678901234567890123456789012345678901234567890::bignum",
        "12345678901234567890123456789012345678901234567890",
    ),
    ("0.1::double", 0.1),
    ("'nan'::double", "NaN"),
    ("'inf'::double", "Infinity"),
    ("'-inf'::float", "-Infinity"),
    ("1.50", "1.50"),
    ("12::decimal(38,0)", 12),
    ("'ä\U0001f600'", "ä\U0001f600"),
    ("'a' || chr(0)", "a\0"),
    ("''", ""),
    ("'\\x00\\xff'::blob", base64.b64encode(b"\0\xff").decode()),
    ("'101'::bit", "101"),
    ("date '2024-02-29'", "2024-02-29"),
    ("date 'infinity'", "infinity"),
    ("date '0044-03-15 (BC)'", "0044-03-15 (BC)"),
    ("time '12:30:00.5'", "12:30:00.5"),
    ("timetz '12:00:00+02'", "12:00:00+02"),
    ("timestamp '2024-01-02 03:04:05.678901'", "2024-01-02T03:04:05.678901"),
    ("timestamp_s '2024-01-02 03:04:05'", "2024-01-02T03:04:05"),
    ("timestamp_ns '2024-01-02 03:04:05.123456789'", "2024-01-02T03:04:05.123456789"),
    ("timestamp '290000-01-01'", "290000-01-01T00:00:00"),
    ("timestamp '-infinity'", "-infinity"),
    ("timestamptz '2024-01-02 03:04:05-08'", "2024-01-02T11:04:05+00:00"),
    ("interval '14 months 3 days'", "1 year 2 months 3 days"),
    ("'0198a0b4-0000-7000-8000-000000000000'::uuid", "0198a0b4-0000-7000-8000-000000000000"),
    ("'b'::enum('a', 'b')", "b"),
    ("'{\"a\": [1]}'::json", '{"a": [1]}'),
    ("[1, null, 3]", [1, None, 3]),
    ("[1.5, null]", ["1.5", None]),
    ("[]", []),
    ("[1, 2]::int[2]", [1, 2]),
    ("[['x'::blob]]", [["eA=="]]),
    (
        "{'a': 1, 'd': date '2024-01-01', 'n': {'f': 'nan'::double}}",
        {"a": 1, "d": "2024-01-01", "n": {"f": "NaN"}},
    ),
    ("{'we\"ird key': 1.5}", {'we"ird key': "1.5"}),
    ("map {'a': 1}", [{"key": "a", "value": 1}]),
    ("map {[1]: date '2024-01-01'}", [{"key": [1], "value": "2024-01-01"}]),
    ("map {1.5: null}", [{"key": "1.5", "value": None}]),
    ("map {}", []),
    ("union_value(k := 1)", "1"),
    ("1::variant", "1"),
    ("row(1, 'x')", "(1, x)"),
]


@pytest.mark.parametrize(("value", "expected"), JSON_VALUES, ids=[value for value, _ in JSON_VALUES])
def test_values_as_json(lab: Lab, value: str, expected: Any) -> None:
    assert lab.rows(f"select {value} as v union all select null") == [[expected], [None]]


PARQUET_VALUES: list[tuple[str, str, str]] = [
    ("9223372036854775807", "BIGINT", "9223372036854775807"),
    ("sum(9007199254740993)", "DECIMAL(38,0)", "9007199254740993"),
    ("[sum(9007199254740993)]", "DECIMAL(38,0)[]", "[9007199254740993]"),
    ("{'n': sum(1), 't': 'x'}", "STRUCT(n DECIMAL(38,0), t VARCHAR)", "{'n': 1, 't': x}"),
    ("map {'a': sum(1)}", "MAP(VARCHAR, DECIMAL(38,0))", "{a=1}"),
    ("18446744073709551615::ubigint", "UBIGINT", "18446744073709551615"),
    ("1.50", "DECIMAL(3,2)", "1.50"),
    ("'nan'::double", "DOUBLE", "nan"),
    ("'\\x00\\xff'::blob", "BLOB", "\\x00\\xFF"),
    ("date 'infinity'", "DATE", "infinity"),
    ("timestamp_ns '2024-01-02 03:04:05.123456789'", "TIMESTAMP_NS", "2024-01-02 03:04:05.123456789"),
    ("timestamptz '2024-01-02 03:04:05-08'", "TIMESTAMP WITH TIME ZONE", "2024-01-02 11:04:05+00"),
    ("'0198a0b4-0000-7000-8000-000000000000'::uuid", "UUID", "0198a0b4-0000-7000-8000-000000000000"),
    ("'b'::enum('a', 'b')", "VARCHAR", "b"),
    ("'101'::bit", "VARCHAR", "101"),
    ("'{\"a\": 1}'::json", "JSON", '{"a": 1}'),
    ("{'a': 1, 'b': [2]}", "STRUCT(a INTEGER, b INTEGER[])", "{'a': 1, 'b': [2]}"),
    ("[1, 2]::int[2]", "INTEGER[]", "[1, 2]"),
    ("map {'a': 1}", "MAP(VARCHAR, INTEGER)", "{a=1}"),
    ("interval '1 year 1.234567 seconds'", "INTERVAL", "1 year 00:00:01.234"),
    ("1::variant", "VARIANT", "1"),
]


@pytest.mark.parametrize(
    ("value", "kind", "text"), PARQUET_VALUES, ids=[value for value, _, _ in PARQUET_VALUES]
)
def test_values_through_a_result(lab: Lab, value: str, kind: str, text: str) -> None:
    made = lab.sql(f"select {value} as v")
    assert made.result["columns"] == [{"name": "v", "type": kind}]
    made.file.rename(lab.files / "v.parquet")
    lab.register("v", "files/v.parquet")
    assert lab.rows("select v::varchar, typeof(v) from v") == [[text, kind]]


def test_an_integer_beyond_38_digits_fails_instead_of_being_rounded(lab: Lab) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql(f"select {HUGE} as v")
    assert failed.value.code in ("conversion_error", "out_of_range")
