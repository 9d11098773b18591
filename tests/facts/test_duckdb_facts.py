"""What Tidegate relies on in DuckDB 2.0, fact by fact.

When one of these fails after an upgrade, the code that relies on it must be thought over; the names of the tests say
what is assumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

SPILLING_SORT = """
    SELECT count(n) FROM (
        SELECT row_number() OVER (ORDER BY hash(range)) AS n, range || repeat('x', 40) AS pad FROM range({rows})
    ) WHERE length(pad) > n - {rows}
"""
Config = dict[str, str | bool | int | float | list[str]]
LONG_QUERY = "SELECT count(*) FROM range(3000000000) t WHERE hash(t.range) % 7 = 3"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:", config={"threads": 1, "async_threads": 0})
    yield connection
    connection.close()


def set_all(con: duckdb.DuckDBPyConnection, **settings: object) -> None:
    for name, value in settings.items():
        con.execute(f"SET {name} = '{value}'")


def in_program(code: str) -> Any:
    """What a fresh program prints last, as JSON: for facts about threads and forks, which need a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    return json.loads(done.stdout.splitlines()[-1])


# Limits


def test_01_a_spill_cap_given_at_connect_is_shown_but_not_kept(tmp_path: Path) -> None:
    config: Config = {
        "threads": 1, "async_threads": 0, "memory_limit": "60MB", "temp_directory": str(tmp_path),
        "max_temp_directory_size": "5MB",
    }  # fmt: skip
    with duckdb.connect(":memory:", config=config) as con:
        assert con.execute("SELECT current_setting('max_temp_directory_size')").fetchall() == [("4.7 MiB",)]
        assert con.execute(SPILLING_SORT.format(rows=2_000_000)).fetchall() == [(2_000_000,)]


@pytest.mark.parametrize(
    "order", [("temp_directory", "max_temp_directory_size"), ("max_temp_directory_size", "temp_directory")]
)
def test_01_a_spill_cap_set_after_connect_is_kept(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, order: tuple[str, str]
) -> None:
    values = {"temp_directory": str(tmp_path), "max_temp_directory_size": "5MB"}
    set_all(con, memory_limit="60MB", **{name: values[name] for name in order})
    with pytest.raises(duckdb.OutOfMemoryException, match="max_temp_directory_size"):
        con.execute(SPILLING_SORT.format(rows=2_000_000)).fetchall()


def test_02_out_of_memory_is_an_operational_error_and_the_connection_lives_on(
    con: duckdb.DuckDBPyConnection,
) -> None:
    set_all(con, memory_limit="50MB", temp_directory="")
    with pytest.raises(duckdb.OutOfMemoryException) as failed:
        con.execute("SELECT list(range) FROM range(100000000)").fetchall()
    assert isinstance(failed.value, duckdb.OperationalError)
    assert "max_temp_directory_size" not in str(failed.value)
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_03_memory_stays_within_a_hundred_megabytes_above_its_limit() -> None:
    peak = in_program(
        "import duckdb, json, tempfile\n"
        "con = duckdb.connect(':memory:', config={'threads': 1, 'async_threads': 0})\n"
        "con.execute(\"SET memory_limit = '100MB'\")\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    con.execute(f\"SET temp_directory = '{folder}'\")\n"
        f"    con.execute({SPILLING_SORT.format(rows=3_000_000)!r}).fetchall()\n"
        # Not ru_maxrss: that starts at what the program had that started this one.
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(json.dumps(int(status['VmHWM'].split()[0]) * 1024))\n"
    )
    assert peak < 200_000_000


def test_04_async_threads_are_eight_unless_told() -> None:
    code = "import duckdb, os, json; con = duckdb.connect(':memory:', config={config}); con.execute('SELECT 1'); "
    code += "print(json.dumps(len(os.listdir('/proc/self/task'))))"
    assert in_program(code.replace("{config}", "{'threads': 1, 'async_threads': 0}")) == 1
    assert in_program(code.replace("{config}", "{'threads': 1}")) >= 9


def test_05_under_a_data_limit_it_reports_out_of_memory_and_does_not_crash() -> None:
    told = in_program(
        "import duckdb, json, resource\n"
        "con = duckdb.connect(':memory:', config={'threads': 1, 'async_threads': 0, 'memory_limit': '4GB'})\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (300_000_000, 300_000_000))\n"
        "try:\n    con.execute('SELECT list(range) FROM range(100000000)').fetchall()\n"
        "except duckdb.OutOfMemoryException as error:\n    print(json.dumps(str(error)))\n"
    )
    assert "Out of Memory" in told


def test_07_a_time_limit_and_an_interrupt_raise_the_same_and_the_connection_lives_on(
    con: duckdb.DuckDBPyConnection,
) -> None:
    con.execute("SET max_execution_time = 50")
    with pytest.raises(duckdb.InterruptException):
        con.execute(LONG_QUERY).fetchall()
    con.execute("SET max_execution_time = 0")
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.wait(0.01):
            con.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(duckdb.InterruptException):
        con.execute(LONG_QUERY).fetchall()
    stop.set()
    thread.join()
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_07_an_interrupt_before_a_query_is_forgotten(con: duckdb.DuckDBPyConnection) -> None:
    con.interrupt()
    assert con.execute("SELECT 1").fetchall() == [(1,)]


# Progress

BAR = "SET enable_progress_bar = true; SET enable_progress_bar_print = false; SET progress_bar_time = 0"


def progress_of(con: duckdb.DuckDBPyConnection) -> list[float]:
    seen: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            seen.append(con.query_progress())

    thread = threading.Thread(target=look)
    thread.start()
    con.execute("SELECT count(*) FROM range(200000000) t WHERE hash(t.range) % 7 = 3").fetchall()
    done.set()
    thread.join()
    return seen


def test_progress_is_minus_one_while_it_is_off(con: duckdb.DuckDBPyConnection) -> None:
    # A program file has it off; `python -c`, a notebook and a remote test runner count as interactive and have it on.
    con.execute("SET enable_progress_bar = false")
    assert set(progress_of(con)) <= {-1.0}


def test_progress_goes_from_0_to_100_once_asked_for_and_prints_nothing(
    con: duckdb.DuckDBPyConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    con.execute(BAR)
    seen = [share for share in progress_of(con) if share >= 0]
    assert seen
    assert all(0 <= share <= 100 for share in seen)
    assert capfd.readouterr() == ("", "")


def test_progress_settings_are_not_handed_to_a_cursor(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(BAR)
    ask = "SELECT current_setting('enable_progress_bar')"
    assert con.execute(ask).fetchall() == [(True,)]
    assert con.cursor().execute(ask).fetchall() == [(False,)]


def test_progress_settings_cannot_be_made_once_settings_are_locked(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET lock_configuration = true")
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        con.execute("SET enable_progress_bar = true")


# Results

COPY = "COPY (FROM query($sql)) TO $path (FORMAT parquet)"


def test_08_copy_takes_query_and_path_as_values(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / 'it\'s; "odd".parquet'
    answer = con.execute(COPY, {"sql": "SELECT 'a''b' AS x -- end", "path": str(path)}).fetchall()
    assert answer == [(1,)]
    assert con.execute("FROM read_parquet($path)", {"path": str(path)}).fetchall() == [("a'b",)]


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1; SELECT 2", "CREATE TABLE t (x INT)", "INSERT INTO t VALUES (1)", "COPY (SELECT 1) TO '/tmp/x'",
     "SET threads = 1", "PRAGMA version", "ATTACH '/tmp/x'", "INSTALL httpfs", "LOAD httpfs", "EXPLAIN SELECT 1", "BEGIN",
     "", "-- none", "SELECT 1) TO '/tmp/x'; COPY (SELECT 1"],
)  # fmt: skip
def test_08_query_refuses_all_but_one_select(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, sql: str
) -> None:
    with pytest.raises(duckdb.ParserException):
        con.execute(COPY, {"sql": sql, "path": str(tmp_path / "x.parquet")})
    assert list(tmp_path.iterdir()) == []


def test_08_pivot_without_values_is_refused(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(duckdb.ParserException, match="IN clauses"):
        con.execute(COPY, {"sql": "PIVOT (SELECT 1 AS a) ON a", "path": str(tmp_path / "x.parquet")})


def test_09_copy_answers_rows_and_describe_the_schema(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    stats = con.execute(
        "COPY (FROM range(10)) TO $path (FORMAT parquet, RETURN_STATS)", {"path": path}
    ).fetchall()
    assert stats[0][:3] == (path, 10, os.stat(path).st_size)
    assert [
        row[:2] for row in con.execute("DESCRIBE FROM read_parquet($path)", {"path": path}).fetchall()
    ] == [("range", "BIGINT")]
    assert con.execute("SELECT num_rows FROM parquet_file_metadata($path)", {"path": path}).fetchall() == [
        (10,)
    ]


def test_10_an_interrupted_copy_removes_its_file(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    con.execute("SET max_execution_time = 300")
    with pytest.raises(duckdb.InterruptException):
        con.execute(COPY, {"sql": "FROM range(1000000000)", "path": str(tmp_path / "x.parquet")})
    assert list(tmp_path.iterdir()) == []


def test_10_a_killed_copy_leaves_half_a_file_at_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    copy = "COPY (FROM range(10000000000)) TO $path (FORMAT parquet)"
    code = f"import duckdb, sys; duckdb.connect().execute({copy!r}, {{'path': sys.argv[1]}})"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        while not path.exists() or path.stat().st_size < 1000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes()[-4:] != b"PAR1"


def test_11_execute_streams(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET memory_limit = '50MB'; SET temp_directory = ''")
    con.execute("SELECT range, repeat('x', 1000) FROM range(1000000000)")
    assert len(con.fetchmany(1000)) == 1000


def test_11_an_open_result_gives_way_to_the_next_query(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("FROM range(1000000000)")
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_12_an_appender_takes_tuples(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TABLE t (a INTEGER, b VARCHAR)")
    with con.appender("t") as appender:
        appender.append_rows([(1, "x"), (2, None)])
    assert con.execute("FROM t").fetchall() == [(1, "x"), (2, None)]


def test_csv_is_sniffed_with_columns_and_dialect(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1;x\n2;y\n")
    found = con.execute(
        "SELECT Delimiter, Quote, Escape, HasHeader, SkipRows, Columns FROM sniff_csv($path)",
        {"path": str(tmp_path / "a.csv")},
    ).fetchall()
    columns = [{"name": "a", "type": "BIGINT"}, {"name": "b", "type": "VARCHAR"}]
    assert found == [(";", "(empty)", "(empty)", True, 0, columns)]


def test_a_try_cast_is_moved_into_the_csv_reader_and_raises_there_unless_that_is_off(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,x\nfoo,y\n3,z\n")
    ask = (
        f"SELECT TRY_CAST(a AS INTEGER) FROM read_csv('{path}', columns = {{'a': 'VARCHAR', 'b': 'VARCHAR'}})"
    )
    config: Config = {"threads": 1, "async_threads": 0}
    with (
        duckdb.connect(":memory:", config=config) as con,
        pytest.raises(duckdb.ConversionException, match="foo"),
    ):
        con.execute(ask).fetchall()
    with duckdb.connect(":memory:", config={**config, "disabled_optimizers": "type_pushdown"}) as con:
        assert con.cursor().execute(ask).fetchall() == [(1,), (None,), (3,)]


def test_csv_rows_that_do_not_fit_can_be_kept_aside(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\nx,3\n")
    options = "columns = {'a': 'INTEGER', 'b': 'INTEGER'}, header = true, store_rejects = true"
    assert con.execute(f"FROM read_csv('{tmp_path}/a.csv', {options})").fetchall() == [(1, 2)]
    errors = con.execute("SELECT line, column_name, error_type FROM reject_errors").fetchall()
    assert errors == [(3, "a", "CAST")]


def test_csv_files_with_other_headers_are_read_by_place_when_columns_are_given(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n3,4\n")
    options = "columns = {'a': 'INTEGER', 'b': 'INTEGER'}, header = true, auto_detect = false"
    rows = con.execute(f"FROM read_csv(['{tmp_path}/1.csv', '{tmp_path}/2.csv'], {options})").fetchall()
    assert rows == [(1, 2), (3, 4)]


def test_parquet_files_with_other_columns_fail_unless_united(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        con.execute(f"COPY (SELECT 1 AS {name}) TO '{tmp_path}/{name}.parquet'")
    with pytest.raises(duckdb.InvalidInputException, match="union_by_name"):
        con.execute(f"FROM '{tmp_path}/*.parquet'").fetchall()
    united = con.execute(
        f"FROM read_parquet('{tmp_path}/*.parquet', union_by_name = true) ORDER BY ALL"
    ).fetchall()
    assert united == [(1, None), (None, 1)]


def test_parquet_has_no_128_bit_integers_so_they_would_become_doubles(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    con.execute(f"COPY (SELECT sum(9007199254740993) AS s) TO '{tmp_path}/x.parquet'")
    assert (
        con.execute(f"SELECT typeof(s), s = 9007199254740993 FROM '{tmp_path}/x.parquet'").fetchall()[0][0]
        == "DOUBLE"
    )


# Untrusted SQL


@pytest.fixture
def locked(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """Only `in` may be used; beside it lie `in2` and a link that leads out of `in`."""
    for folder in ("in", "in2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text("a\n1\n")
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "in2" / "x.csv")
    con.execute(f"SET allowed_directories = ['{tmp_path}/in']")
    con.execute(
        "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;"
        "SET allow_community_extensions = false; SET python_enable_replacements = false;"
        "SET allow_persistent_secrets = false; SET enable_external_access = false; SET lock_configuration = true"
    )
    return con


@pytest.mark.parametrize(
    "sql",
    ["FROM read_csv('{t}/in2/x.csv')", "FROM read_csv('{t}/in/../in2/x.csv')", "FROM read_text('/proc/self/environ')",
     "FROM read_csv('http://127.0.0.1:1/x.csv')", "FROM 's3://b/x.parquet'", "INSTALL httpfs", "LOAD httpfs",
     "ATTACH '{t}/in2/x.db'", "EXPORT DATABASE '{t}/in2/e'", "COPY (SELECT 1) TO '{t}/in2/y.csv'",
     "SET memory_limit = '1GB'", "RESET threads", "PRAGMA threads = 2", "SET profiling_output = '{t}/in/p'",
     "SET enable_external_access = true", "SET TimeZone = 'UTC'", "SELECT getenv('HOME')"],
)  # fmt: skip
def test_13_a_locked_connection_refuses(locked: duckdb.DuckDBPyConnection, tmp_path: Path, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        locked.execute(sql.format(t=tmp_path)).fetchall()


def test_13_a_link_that_leads_out_is_refused(locked: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(duckdb.PermissionException):
        locked.execute(f"FROM read_csv('{tmp_path}/in/link.csv')").fetchall()


def test_13_python_variables_are_not_tables(locked: duckdb.DuckDBPyConnection) -> None:
    secret = locked.sql("SELECT 42 AS x")
    assert secret is not None
    with pytest.raises(duckdb.CatalogException):
        locked.execute("FROM secret")


def test_13_after_external_access_is_off_what_is_allowed_cannot_grow(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    con.execute("SET enable_external_access = false")
    for setting in (
        "allowed_directories = ['/']",
        "allowed_paths = ['/etc/passwd']",
        f"temp_directory = '{tmp_path}'",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(f"SET {setting}")
    con.execute("SET memory_limit = '100MB'; SET threads = 2")


def test_13_an_allowed_path_is_that_file_alone(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for name in ("x.csv", "x.csv2", "y.csv"):
        (tmp_path / name).write_text("a\n1\n")
    con.execute(f"SET allowed_paths = ['{tmp_path}/x.csv']; SET enable_external_access = false")
    assert con.execute(f"FROM read_csv('{tmp_path}/x.csv')").fetchall() == [(1,)]
    for name in ("x.csv2", "y.csv", "*.csv"):
        with pytest.raises(duckdb.PermissionException):
            con.execute(f"FROM read_csv('{tmp_path}/{name}')").fetchall()


def test_14_inside_an_allowed_directory_files_can_still_be_overwritten(
    locked: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    locked.execute(f"COPY (SELECT 7 AS b) TO '{tmp_path}/in/x.csv'")
    assert (tmp_path / "in" / "x.csv").read_text() == "b\n7\n"


def test_15_a_disabled_local_file_system_shuts_out_sources_as_well(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    con.execute("SET disabled_filesystems = 'LocalFileSystem'")
    with pytest.raises(duckdb.Error):
        con.execute(f"FROM read_csv('{tmp_path}/x.csv')").fetchall()


# Errors


def test_errors_as_json_tell_name_place_and_neighbours(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("SET errors_as_json = true")
    with pytest.raises(duckdb.BinderException) as failed:
        con.execute(COPY, {"sql": "SELECT 'ä', nope FROM range(3)", "path": "/dev/null"})
    told = json.loads(str(failed.value).removeprefix("Binder Error: "))
    assert told["error_subtype"] == "COLUMN_NOT_FOUND"
    assert told["name"] == "nope"
    assert told["position"] == str(len("SELECT 'ä', ".encode()))
    assert told["candidates"] == "range"


def test_a_parameter_left_open_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="parameters were bound"):
        con.execute(COPY, {"sql": "SELECT ?", "path": "/dev/null"})


def test_time_with_zone_cannot_be_fetched_without_pytz(con: duckdb.DuckDBPyConnection) -> None:
    if "pytz" in sys.modules:
        pytest.skip("pytz is installed here")
    with pytest.raises(duckdb.InvalidInputException, match="pytz"):
        con.execute("SELECT timestamptz '2024-01-01 00:00+00'").fetchall()


# Concurrency and the fork


def test_a_database_file_has_one_writer_and_then_no_reader(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    with duckdb.connect(path) as con:
        con.execute("CREATE TABLE t (x INT)")
        code = f"import duckdb, json\ntry:\n    duckdb.connect({path!r}, read_only=True)\n"
        code += "except duckdb.IOException as error:\n    print(json.dumps(str(error)))"
        assert str(os.getpid()) in in_program(code)


def test_cursors_of_one_instance_work_in_threads(con: duckdb.DuckDBPyConnection) -> None:
    answers: list[Any] = []

    def ask(cursor: duckdb.DuckDBPyConnection) -> None:
        answers.append(cursor.execute("SELECT sum(range) FROM range(100000)").fetchall())

    threads = [threading.Thread(target=ask, args=(con.cursor(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[(4999950000,)]] * 4


FORK = """
import duckdb, json, os, tempfile
con = duckdb.connect(':memory:', config={'threads': 1, 'async_threads': 0})
nowhere = f'/proc/self/fd/{os.memfd_create("x")}'
con.execute(f"COPY (FROM query($sql)) TO '{nowhere}' (FORMAT parquet, USE_TMP_FILE false)", {'sql': 'SELECT 1 AS x'})
assert len(os.listdir('/proc/self/task')) == 1
def child(work):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(work()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    return json.loads(os.read(reader, 65536))
"""


def test_an_open_instance_of_one_thread_survives_the_fork_with_its_limits() -> None:
    answer = in_program(
        FORK + "def work():\n"
        "    cursor = con.cursor()\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        cursor.execute(f\"SET memory_limit = '250MB'; SET threads = 2; SET temp_directory = '{folder}'\")\n"
        "        cursor.execute(\"SET max_temp_directory_size = '1GB'\")\n"
        f"        rows = cursor.execute({SPILLING_SORT.format(rows=3_000_000)!r}).fetchall()\n"
        "        cursor.execute(\"SET max_temp_directory_size = '1MB'\")\n"
        "        try:\n"
        f"            cursor.execute({SPILLING_SORT.format(rows=5_000_000)!r}).fetchall()\n"
        "        except duckdb.OutOfMemoryException as error:\n"
        "            return rows, str(error), len(os.listdir('/proc/self/task'))\n"
        "print(json.dumps([child(work), child(work)]))"
    )
    for rows, error, threads in answer:
        assert rows == [[3_000_000]]
        assert "max_temp_directory_size" in error
        assert threads == 2


def test_the_inherited_connection_repeats_its_random_numbers_and_a_cursor_does_not() -> None:
    answer = in_program(
        FORK
        + "def ask(one):\n    return one.execute('SELECT random(), gen_random_uuid()::VARCHAR').fetchall()\n"
        "print(json.dumps([[child(lambda: ask(con)) for _ in '12'], [child(lambda: ask(con.cursor())) for _ in '12']]))"
    )
    inherited, cursors = answer
    assert inherited[0] == inherited[1]
    assert cursors[0] != cursors[1]


def test_the_default_connection_of_the_module_starts_threads() -> None:
    count = in_program(
        "import duckdb, os, json\nduckdb.sqltype('INTEGER')\nprint(json.dumps(len(os.listdir('/proc/self/task'))))"
    )
    assert count > 1


def test_settings_of_the_instance_reach_a_cursor() -> None:
    config: Config = {
        "errors_as_json": True,
        "python_enable_replacements": False,
    }
    with duckdb.connect(":memory:", config=config) as con:
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        names = ("errors_as_json", "python_enable_replacements", "TimeZone")
        ask = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        assert con.cursor().execute(ask).fetchall() == [(True, False, "UTC")]


def test_the_extension_module_works_without_the_package_around_it() -> None:
    loaded = in_program(
        "import _duckdb, json, sys\n"
        "con = _duckdb.connect(':memory:', config={'threads': 1, 'async_threads': 0})\n"
        "types = 'DECIMAL(18,3) UUID TIMESTAMP INTERVAL BLOB HUGEINT DATE TIME'.split()\n"
        "values = [con.execute(f'SELECT CAST(NULL AS {one}), ?', [1]).fetchall() for one in types]\n"
        "value = con.execute(\"SELECT 1.5::DECIMAL(4,1), uuid(), {'a': [1]}, now()::TIMESTAMP\").fetchone()\n"
        "con.sqltype('STRUCT(a INTEGER)').children\n"
        "try:\n    con.execute('SELECT nothing')\n"
        "except _duckdb.BinderException:\n    print(json.dumps('duckdb' in sys.modules))"
    )
    assert loaded is False


def test_the_working_folder_as_spill_folder_is_that_of_the_fork_and_stays_allowed() -> None:
    spilled, allowed, refused = in_program(
        FORK + "con.execute(\"SET temp_directory = '.'; SET max_temp_directory_size = '1GB'\")\n"
        "con.execute(\"SET memory_limit = '60MB'\")\n"
        "def refused(cursor, path):\n"
        "    try:\n"
        "        cursor.execute('COPY (SELECT 1) TO $path', {'path': path})\n"
        "    except duckdb.PermissionException:\n"
        "        return True\n"
        "def work():\n"
        "    with tempfile.TemporaryDirectory() as above:\n"
        "        folder = f'{above}/staging'\n"
        "        os.mkdir(folder)\n"
        "        os.chdir(folder)\n"
        "        cursor = con.cursor()\n"
        "        cursor.execute('SET enable_external_access = false')\n"
        f"        rows = cursor.execute({SPILLING_SORT.format(rows=2_000_000)!r}).fetchall()\n"
        "        allowed = cursor.execute(\"SELECT current_setting('allowed_directories')\").fetchall()\n"
        "        paths = ['staging/a', 'staging/../a', 'a', 'staging2']\n"
        "        return rows, allowed[0][0] == [f'{folder}/'], [refused(cursor, f'{above}/{one}') for one in paths]\n"
        "print(json.dumps(child(work)))"
    )
    assert spilled == [[2_000_000]]
    assert allowed is True
    assert refused == [None, True, True, True]


def test_a_parsed_statement_runs_with_values_in_every_fork() -> None:
    answer = in_program(
        FORK + "parsed = con.extract_statements('SELECT $a + 1; SELECT $a')\n"
        "def work():\n"
        "    cursor = con.cursor()\n"
        "    return [cursor.execute(one, {'a': value}).fetchall() for one in parsed for value in (1, 2)]\n"
        "print(json.dumps([child(work), child(work)]))"
    )
    assert answer == [[[[2]], [[3]], [[1]], [[2]]]] * 2
