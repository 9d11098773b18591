"""What every target does alike."""

from __future__ import annotations

import pytest

from tests.workloads.targets.support import Lab, texts
from tidegate.workloads.errors import TaskError

ROWS = "SELECT i AS id, 'name ' || i AS name FROM range({}, {}) t(i)"


def rows(first: int, last: int) -> str:
    return ROWS.format(first, last)


def test_a_new_table_is_made_and_filled(lab: Lab) -> None:
    report = lab.load(rows(0, 3))
    assert (report.rows_in, report.inserted, report.created, report.bad_rows) == (3, 3, True, 0)
    assert lab.rows("SELECT id, name FROM t ORDER BY id") == [(0, "name 0"), (1, "name 1"), (2, "name 2")]


def test_a_file_without_rows_makes_an_empty_table(lab: Lab) -> None:
    assert lab.load(rows(0, 0)).created
    assert lab.rows("SELECT count(*) FROM t") == [(0,)]


def test_append_adds_and_replace_takes_the_place(lab: Lab) -> None:
    lab.load(rows(0, 3))
    report = lab.load(rows(3, 5))
    assert (report.inserted, report.created) == (2, False)
    assert lab.rows("SELECT count(*) FROM t") == [(5,)]
    assert lab.load(rows(7, 9), mode="replace").inserted == 2
    assert lab.rows("SELECT id FROM t ORDER BY id") == [(7,), (8,)]


def test_replace_keeps_the_table_as_it_is_defined(lab: Lab) -> None:
    lab.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, more INT DEFAULT 5)")
    lab.run("INSERT INTO t (id, name) VALUES (1, 'old')")
    lab.load(rows(1, 3), mode="replace")
    assert lab.rows("SELECT id, name, more FROM t ORDER BY id") == [(1, "name 1", 5), (2, "name 2", 5)]
    with pytest.raises(TaskError) as told:
        lab.load("SELECT 3 AS id, 'x' AS name UNION ALL SELECT 3, 'y'")
    assert told.value.code == "row_refused"
    assert lab.rows("SELECT count(*) FROM t") == [(2,)]


def test_upsert_updates_inserts_and_counts(lab: Lab) -> None:
    lab.load(rows(0, 3), mode="upsert", keys=["id"])
    report = lab.load(
        "SELECT * FROM (VALUES (2, 'first'), (2, 'second'), (3, 'new'), (NULL, 'lost')) v(id, name)",
        mode="upsert", keys=["id"],
    )  # fmt: skip
    assert (report.inserted, report.updated, report.duplicates, report.bad_rows) == (1, 1, 1, 1)
    assert lab.rows("SELECT id, name FROM t ORDER BY id") == [
        (0, "name 0"),
        (1, "name 1"),
        (2, "second"),
        (3, "new"),
    ]
    assert lab.rows('SELECT "data_row", code FROM t_bad_rows') == [(4, "null_key")]


def test_upsert_by_several_keys_and_with_no_other_column(lab: Lab) -> None:
    lab.load("SELECT 1 AS a, 'x' AS b", mode="upsert", keys=["a", "b"])
    report = lab.load("SELECT * FROM (VALUES (1, 'x'), (1, 'y')) v(a, b)", mode="upsert", keys=["a", "b"])
    assert (report.inserted, report.updated) == (1, 1)
    assert lab.rows("SELECT a, b FROM t ORDER BY b") == [(1, "x"), (1, "y")]


def test_texts_that_differ_in_case_or_blanks_are_different_keys(lab: Lab) -> None:
    keys = ["a", "A", "a ", "á", ""]
    report = lab.load(f"SELECT unnest({keys}) AS k", mode="upsert", keys=["k"])
    assert (report.inserted, report.duplicates) == (5, 0)
    assert lab.load(f"SELECT unnest({keys}) AS k", content="b", mode="upsert", keys=["k"]).updated == 5


def test_upsert_leaves_columns_alone_that_the_file_has_not(lab: Lab) -> None:
    lab.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(40), kept INT)")
    lab.run("INSERT INTO t VALUES (1, 'old', 7)")
    lab.load("SELECT 1 AS id, 'new' AS name", mode="upsert", keys=["id"])
    assert lab.rows("SELECT * FROM t") == [(1, "new", 7)]


def test_upsert_needs_a_unique_index_and_says_so(lab: Lab) -> None:
    lab.run("CREATE TABLE t (id BIGINT, name VARCHAR(40))")
    with pytest.raises(TaskError, match="CREATE UNIQUE INDEX") as told:
        lab.load(rows(0, 1), mode="upsert", keys=["id"])
    assert told.value.code == "no_unique_index"
    with pytest.raises(TaskError) as told:
        lab.load(rows(0, 1), mode="upsert")
    assert told.value.code == "no_key"


def test_the_same_load_twice_changes_nothing(lab: Lab) -> None:
    lab.load(rows(0, 3), content="a")
    before = lab.state()
    report = lab.load(rows(0, 3), content="a")
    assert (report.unchanged_because_loaded_before, report.inserted) == (3, 0)
    assert lab.state() == before
    assert lab.load(rows(0, 3), content="a", again=True).inserted == 3
    assert lab.rows("SELECT count(*) FROM t") == [(6,)]
    assert lab.rows("SELECT count(*) FROM tidegate_loads") == [(1,)]


def test_what_was_replaced_or_dropped_since_is_loaded_again(lab: Lab) -> None:
    lab.load(rows(0, 3), content="a", mode="replace")
    lab.load(rows(5, 6), content="b", mode="replace")
    assert lab.load(rows(0, 3), content="a", mode="replace").inserted == 3
    assert lab.rows("SELECT id FROM t ORDER BY id") == [(0,), (1,), (2,)]
    lab.run("DROP TABLE t")
    assert lab.load(rows(0, 3), content="a", mode="replace").created


def test_one_file_into_two_tables_is_two_loads(lab: Lab) -> None:
    lab.load(rows(0, 3), content="a")
    assert lab.load(rows(0, 3), content="a", table="u").inserted == 3


def test_missing_columns_are_named_or_added(lab: Lab) -> None:
    lab.load("SELECT 1 AS id")
    before = lab.state()
    with pytest.raises(TaskError, match="'name'") as told:
        lab.load(rows(2, 3))
    assert told.value.code == "missing_columns"
    assert lab.state() == before
    assert lab.load(rows(2, 3), add_columns=True).added_columns == ("name",)
    assert lab.rows("SELECT id, name FROM t ORDER BY id") == [(1, None), (2, "name 2")]


def test_columns_are_matched_by_name_not_by_place_or_case(lab: Lab) -> None:
    lab.run('CREATE TABLE t ("Name" VARCHAR(40), id BIGINT)')
    lab.load(rows(0, 1))
    assert lab.rows('SELECT id, "Name" FROM t') == [(0, "name 0")]


def test_a_null_that_is_not_allowed_fails_the_load_with_its_row(lab: Lab) -> None:
    lab.run("CREATE TABLE t (id BIGINT, name VARCHAR(40) NOT NULL)")
    with pytest.raises(TaskError, match="Row 2 ") as told:
        lab.load("SELECT * FROM (VALUES (1, 'x'), (2, NULL)) v(id, name)")
    assert told.value.numbers["data_row"] == 2
    assert lab.rows("SELECT count(*) FROM t") == [(0,)]
    with pytest.raises(TaskError) as told:
        lab.load("SELECT 1 AS id")
    assert told.value.code == "unfilled_columns"


def test_readers_bad_rows_are_kept_and_go_with_their_load(lab: Lab) -> None:
    bad = (
        "SELECT 'f.xlsx' AS file, 'Täbelle' AS sheet, CAST(7 AS BIGINT) AS \"row\", 'name' AS \"column\", "
        "e'a\\tb\\\\c' AS value, 'cell_error' AS code, 'why' AS reason, true AS loaded"
    )
    report = lab.load(lab.extract(rows(0, 2), bad), content="a", file="f.xlsx", sheet="Täbelle")
    assert report.bad_rows_table == "t_bad_rows"
    wanted = ("f.xlsx", "Täbelle", 7, None, "name", "a\tb\\c", "cell_error", "why", 1)
    query = 'SELECT file, sheet, "row", data_row, "column", value, code, reason, loaded FROM t_bad_rows'
    assert lab.rows(query) == [wanted]
    lab.load(lab.extract(rows(0, 2), bad), content="a", sheet="Täbelle", again=True)
    assert len(lab.rows(query)) == 1
    lab.load(rows(0, 2), mode="replace")
    assert lab.rows(query) == []


AWKWARD = [
    "select",
    'with "quotes"',
    "back`tick",
    "per%cent %s",
    "数量",
    "Größe",
    "a b",
    "semi;colon",
    "'",
    "x" * 200,
    "ß" * 63,
]


def test_any_name_can_be_a_column_and_a_table(lab: Lab) -> None:
    listed = ", ".join(f'{i} AS "{name.replace(chr(34), chr(34) * 2)}"' for i, name in enumerate(AWKWARD))
    for name in AWKWARD:
        report = lab.load(f"SELECT {listed}", table=name)
        assert report.inserted == 1
        assert lab.load(f"SELECT {listed}", table=name, content="more").inserted == 1
        if lab.kind != "sqlite":
            assert any("is called" in note for note in report.notes)


def test_long_names_that_begin_alike_stay_apart(lab: Lab) -> None:
    long = "c" * 70
    lab.load(f"SELECT 1 AS {long}1, 2 AS {long}2")
    assert lab.rows("SELECT * FROM t") == [(1, 2)]


VALUES = """SELECT * FROM (VALUES
 (true, 9223372036854775807, 12345678901234567890123456789012345678::DECIMAL(38,0), 0.1::DOUBLE, DATE '0001-01-01',
  TIMESTAMP '2024-02-29 23:59:59.999999', TIME '23:59:59.999999', e'tab\\t nl\\n cr\\r bs\\\\ \\\\N \\\\. "q" ''s'' 数量 😀'),
 (false, -9223372036854775808, -1, -1.7976931348623157e308, DATE '9999-12-31',
  TIMESTAMP '0001-01-01 00:00:00', TIME '00:00:00', ''),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
) v(b, i, h, d, dt, ts, tm, s)"""


def test_values_of_every_type_come_back(lab: Lab) -> None:
    lab.load(VALUES)
    found = lab.rows("SELECT b, i, h, d, s FROM t ORDER BY i")
    high, low = sorted((row for row in found if row[1] is not None), key=lambda row: -row[1])
    assert [bool(high[0]), high[1], int(high[2]), high[3]] == [
        True,
        2**63 - 1,
        12345678901234567890123456789012345678,
        0.1,
    ]
    assert high[4] == "tab\t nl\n cr\r bs\\ \\N \\. \"q\" 's' 数量 😀"
    assert [bool(low[0]), low[1], int(low[2]), low[3], low[4]] == [
        False,
        -(2**63),
        -1,
        -1.7976931348623157e308,
        "",
    ]
    assert (None,) * 5 in found
    moments = texts(lab.rows("SELECT dt, ts FROM t WHERE i > 0"))
    assert moments == [("0001-01-01", "2024-02-29 23:59:59.999999")]
    assert lab.rows(
        "SELECT count(*) FROM t WHERE ts = '0001-01-01 00:00:00' AND tm = '00:00:00' AND dt = '9999-12-31'"
    ) == [(1,)]
    assert lab.rows("SELECT count(*) FROM t WHERE tm = '23:59:59.999999'") == [(1,)]


def test_progress_tells_the_rows_sent(lab: Lab) -> None:
    seen: list[int] = []
    lab.load(rows(0, 50_000), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 50_000
    assert len(seen) > 2


def test_a_view_is_no_table(lab: Lab) -> None:
    lab.run("CREATE VIEW t AS SELECT 1 AS id")
    with pytest.raises(TaskError) as told:
        lab.load("SELECT 1 AS id")
    assert told.value.code == "not_a_table"
