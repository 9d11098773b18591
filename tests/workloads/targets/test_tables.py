"""Tables that are there already, with types that hold less than the file's."""

from __future__ import annotations

import pytest

from tests.workloads.targets.support import Lab, connect, texts
from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets.address import parse_address
from tidegate.workloads.targets.opening import open_target


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.servers) for kind in ("postgresql", "mysql")])
def strict(request: pytest.FixtureRequest, tmp_path):
    """The databases whose columns have types."""
    server = request.getfixturevalue({"postgresql": "postgresql", "mysql": "mariadb"}[request.param])
    with server.database() as url:
        yield Lab(url, tmp_path)


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("SMALLINT", "1", "40000"),
        ("SMALLINT", "1", "1.5::DOUBLE"),
        ("SMALLINT", "'7'", "'7.5'"),
        ("SMALLINT", "'7'", "'seven'"),
        ("BIGINT", "1::DECIMAL(38,0)", "9223372036854775808::DECIMAL(38,0)"),
        ("DECIMAL(5,2)", "1", "1000"),
        ("DECIMAL(5,2)", "'1.50'", "'1.505'"),
        ("DECIMAL(5,2)", "0.1::DOUBLE", "'inf'::DOUBLE"),
        ("DOUBLE PRECISION", "'1e3'", "'x'"),
        ("DATE", "TIMESTAMP '2024-01-01'", "TIMESTAMP '2024-01-01 00:00:01'"),
        ("DATE", "'2024-01-01'", "'2024-02-30'"),
        ("DATE", "DATE '2024-01-01'", "DATE '12024-01-01'"),
        ("TIMESTAMP(0)", "TIMESTAMP '2024-01-01 01:02:03'", "TIMESTAMP '2024-01-01 01:02:03.4'"),
        ("VARCHAR(3)", "'abc'", "'abcd'"),
        ("VARCHAR(3)", "123", "1234"),
        ("VARCHAR(3)", "'üöä'", "'üöäß'"),
    ],
)
def test_values_that_do_not_fit_are_bad_rows_and_the_others_are_loaded(
    strict: Lab, declared: str, good: str, bad: str
) -> None:
    strict.run(f"CREATE TABLE t (n INT, v {declared} NULL)")
    report = strict.load(f"SELECT * FROM (VALUES (1, {good}), (2, {bad}), (3, NULL)) v(n, v)")
    assert (report.inserted, report.bad_rows) == (2, 1)
    assert strict.rows("SELECT n FROM t ORDER BY n") == [(1,), (3,)]
    assert [row[0] for row in strict.rows("SELECT data_row FROM t_bad_rows")] == [2]
    assert strict.rows("SELECT count(*) FROM t_bad_rows WHERE \"column\" = 'v' AND length(reason) > 10") == [
        (1,)
    ]


@pytest.mark.parametrize(
    ("declared", "value"), [("DATE", "1"), ("BIGINT", "DATE '2024-01-01'"), ("TIME", "true")]
)
def test_columns_that_cannot_go_together_are_an_error_before_anything_changes(
    strict: Lab, declared: str, value: str
) -> None:
    strict.run(f"CREATE TABLE t (v {declared})")
    strict.load("SELECT 1 AS v", table="other")
    before = strict.state()
    with pytest.raises(TaskError, match="'v' is") as told:
        strict.load(f"SELECT {value} AS v", mode="replace")
    assert told.value.code == "unlike_types"
    assert strict.state() == before


def test_a_unique_value_that_is_there_already_fails_the_load_with_its_row(lab: Lab) -> None:
    lab.run("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    lab.run("INSERT INTO t VALUES (1)")
    with pytest.raises(TaskError, match="Nothing was loaded") as told:
        lab.load("SELECT * FROM (VALUES (5), (1)) v(id)")
    assert (told.value.code, told.value.numbers["data_row"], told.value.numbers["retry"]) == (
        "row_refused",
        2,
        0,
    )
    assert lab.rows("SELECT id FROM t") == [(1,)]


def test_nul_characters_go_where_they_can(lab: Lab) -> None:
    report = lab.load("SELECT 'a' || chr(0) || 'b' AS s")
    assert report.bad_rows == (1 if lab.kind == "postgresql" else 0)
    if report.bad_rows:
        assert lab.rows("SELECT value, code FROM t_bad_rows") == [("a␀b", "nul_character")]
    else:
        assert lab.rows("SELECT s FROM t") == [("a\0b",)]


def test_nan_and_infinity_go_where_they_can(lab: Lab) -> None:
    report = lab.load("SELECT unnest(['nan', 'inf', '-inf', '1.5'])::DOUBLE AS d")
    assert report.bad_rows == (0 if lab.kind == "postgresql" else 3)
    wanted = ["nan", "inf", "-inf", "1.5"] if lab.kind == "postgresql" else ["1.5"]
    assert [row[0] for row in texts(lab.rows("SELECT d FROM t"))] == wanted


def test_computed_columns_take_no_values(strict: Lab) -> None:
    strict.run("CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + 1) STORED)")
    with pytest.raises(TaskError) as told:
        strict.load("SELECT 1 AS a, 2 AS b")
    assert told.value.code == "computed_columns"
    strict.load("SELECT 1 AS a")
    assert strict.rows("SELECT a, b FROM t") == [(1, 2)]


def test_a_table_that_others_refer_to_is_replaced_in_its_place(strict: Lab) -> None:
    strict.run("CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(9))")
    strict.run("CREATE TABLE child (id BIGINT, FOREIGN KEY (id) REFERENCES t (id))")
    strict.load("SELECT 1 AS id, 'old' AS name")
    strict.load("SELECT 2 AS id, 'new' AS name", mode="replace")
    assert strict.rows("SELECT id, name FROM t") == [(2, "new")]
    strict.run("INSERT INTO child VALUES (2)")
    with pytest.raises(TaskError) as told:
        strict.load("SELECT 3 AS id, 'x' AS name", mode="replace")
    assert told.value.code == "row_refused"
    assert strict.rows("SELECT id, name FROM t") == [(2, "new")]


@pytest.mark.servers
def test_mysql_without_transactions_is_refused(mariadb, tmp_path) -> None:
    with mariadb.database() as url:
        lab = Lab(url, tmp_path)
        lab.run("CREATE TABLE t (id BIGINT) ENGINE = MyISAM")
        with pytest.raises(TaskError, match="InnoDB") as told:
            lab.load("SELECT 1 AS id")
        assert told.value.code == "no_transactions"


@pytest.mark.servers
def test_mysql_without_local_files_loads_by_inserts(mariadb, tmp_path) -> None:
    with mariadb.database() as url:
        lab = Lab(url, tmp_path)
        rows = "SELECT i AS id, e'it''s\\t\\\\ \\n' || i AS s FROM range(70000) t(i)"
        mariadb.run_sql("SET GLOBAL local_infile = 0")
        try:
            assert lab.load(rows).inserted == 70_000
            assert (
                lab.load(
                    rows + " UNION ALL SELECT 1, 'last'", table="u", mode="upsert", keys=["id"]
                ).duplicates
                == 1
            )
        finally:
            mariadb.run_sql("SET GLOBAL local_infile = 1")
        assert lab.rows("SELECT s FROM t WHERE id = 69999") == [("it's\t\\ \n69999",)]
        assert lab.rows("SELECT s FROM u WHERE id = 1") == [("last",)]


@pytest.mark.servers
def test_what_cannot_be_reached_is_told_without_secrets(strict: Lab) -> None:
    address = parse_address(strict.url)
    base = strict.url.rpartition("/")[0]
    cases = {
        f"{base}/nowhere_at_all": "no_such_database",
        strict.url.replace(address.password, "wrongsecret"): "target_denied",
        strict.url.replace(f":{address.port}/", ":1/"): "target_unreachable",
    }
    for url, code in cases.items():
        with pytest.raises(TaskError) as told:
            open_target(url, strict.con, str(strict.folder))
        assert told.value.code == code
        assert ("setting `targets`" in told.value.message) == (code == "target_denied")
        assert told.value.numbers["retry"] == int(code == "target_unreachable")
        assert address.password not in told.value.message
        assert "wrongsecret" not in told.value.message


def test_a_file_that_is_no_database_is_told(tmp_path) -> None:
    path = tmp_path / "not.db"
    path.write_text("this is a text, and a long one, so that it may be looked at" * 20)
    with pytest.raises(TaskError) as told:
        Lab(f"sqlite:///{path}", tmp_path).load("SELECT 1 AS id")
    assert told.value.code == "not_a_database"
    with pytest.raises(TaskError) as told:
        Lab(f"sqlite:///{tmp_path}/no/such/folder.db", tmp_path).load("SELECT 1 AS id")
    assert told.value.code == "target_unreachable"


def test_two_loads_of_one_table_wait_for_each_other(lab: Lab) -> None:
    """The second begins while the first has sent its rows and not committed."""
    import threading

    ended: list[int] = []
    other = Lab(lab.url, lab.folder / "other")
    other.folder.mkdir()
    extract = other.extract("SELECT 2 AS id")
    second = threading.Thread(target=lambda: ended.append(other.load(extract).inserted))

    def start_second(_: int) -> None:
        if not second.ident:
            second.start()

    assert lab.load("SELECT 1 AS id", progress=start_second).inserted == 1
    second.join(30)
    assert ended == [1]
    assert sorted(lab.rows("SELECT id FROM t")) == [(1,), (2,)]
    connect(lab.address).close()
