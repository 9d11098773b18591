"""Every code of a failed query: what brings it about and what it says."""

from __future__ import annotations

import duckdb
import pytest

from tests.workloads.lab import Failed, Lab
from tidegate.workloads.duckdb_errors import CODES, QueryFacts, explain

CASES = [
    ("selec 1", "syntax_error", "line 1, column 1"),
    ("select\n  1 as x,,\n  2", "syntax_error", "line 2, column 10"),
    ("select 'ä', 'ö',,", "syntax_error", "line 1, column 17"),
    ("select city from range(3) as t(town)", "unknown_column", "'city' at line 1, column 8. Near it: town"),
    ("select 1\nfrom nowhere", "unknown_table", "'nowhere' at line 2, column 6"),
    ("select nofun(1)", "unknown_function", "'nofun' at line 1, column 8"),
    ("select a, count(*) from range(3) t(a)", "binder_error", "GROUP BY"),
    ("select range from range(3) a, range(3) b", "binder_error", "Ambiguous"),
    ("select sum('x')", "binder_error", "explicit type casts"),
    ("select 'abc'::int", "conversion_error", "'abc'"),
    ("select date '2024-13-01'", "conversion_error", "2024-13-01"),
    ("select 9223372036854775807 + 1", "out_of_range", "Overflow"),
    ("select error('boom: ' || 1)", "invalid_input", "boom: 1"),
    ("create table t as select 1", "not_a_query", "exactly one SELECT"),
    ("pivot (select 1 as a, 2 as b) on a using sum(b)", "not_a_query", "IN (value"),
    ("from '/etc/passwd.csv'", "permission", "as a source"),
]


@pytest.mark.parametrize(("sql", "code", "part"), CASES)
@pytest.mark.parametrize("output", [{"kind": "source"}, {"kind": "inline", "max_rows": 5, "max_bytes": 1000}])
def test_codes_and_messages(lab: Lab, sql: str, code: str, part: str, output: dict[str, object]) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql(sql, output=output)
    assert (failed.value.code, failed.value.reason) == (code, "error")
    assert part in failed.value.message
    assert "{" not in failed.value.message


def test_line_and_column_are_told_as_numbers(lab: Lab) -> None:
    with pytest.raises(Failed) as failed:
        lab.sql("select 1,\n  nope")
    assert failed.value.numbers == {"line": 2, "column": 3}


def test_an_unknown_table_names_the_sources_that_are_there(lab: Lab) -> None:
    lab.write("a.csv", "x\n1\n")
    lab.register("flights", "files/a.csv")
    with pytest.raises(Failed, match="exist: flights"):
        lab.sql("select * from flights join airlines using (x)")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block"), "memory_limit", "memory_limit"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to offload data block of size 256.0 KiB (19.8 MiB/20.0 "
                                     "MiB used).\nThis limit was set by the 'max_temp_directory_size' setting."),
         "disk_limit", "disk_limit"),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "disk_limit", "disk_limit"),
        (duckdb.InterruptException("INTERRUPT Error: Interrupted!"), "time_limit", "time_limit"),
        (duckdb.InternalException("INTERNAL Error: something"), "internal", "error"),
        (duckdb.FatalException("FATAL Error: something"), "internal", "error"),
        (duckdb.Error("Binder Error: {not json"), "internal", "error"),
    ],
)  # fmt: skip
def test_errors_that_do_not_come_as_json(error: duckdb.Error, code: str, reason: str) -> None:
    found = explain(error, QueryFacts(memory_bytes=1000, disk_bytes=1000))
    assert (found.code, found.reason) == (code, reason)


def test_long_messages_are_cut_and_paths_are_named() -> None:
    facts = QueryFacts(path_names={"/data/x.csv": "trips"})
    found = explain(
        duckdb.InvalidInputException("Invalid Input Error: in /data/x.csv " + "\\0" * 90_000), facts
    )
    assert found.message == "in trips ·."
    assert (
        len(explain(duckdb.InvalidInputException("Invalid Input Error: " + "x" * 90_000), facts).message)
        < 2100
    )


def test_every_code_that_is_raised_is_listed() -> None:
    assert {code for _, code, _ in CASES} <= set(CODES)
