"""What commands draw at a terminal: tables in colour that fit it, and live lines that are gone in the end."""

from __future__ import annotations

from pathlib import Path

import tidegate
from tests.client.live import SLOW_SQL, live_client
from tests.ui.terminal import at_terminal

GREEN = "\x1b[32m"
CTRL_C = "\x03"


def test_rows_are_a_table_and_the_story_stands_above(client: tidegate.Client):
    done = at_terminal(["sql", "select city, people from cities order by people"], client.url)
    assert done.code == 0
    rows = [line.split() for line in done.lines]
    assert [row for row in rows if len(row) == 2][-3:] == [
        ["Oslo", "700000"],
        ["Rome", "2800000"],
        ["Berlin", "3700000"],
    ]
    assert any("succeeded in" in line for line in done.lines)


def test_states_have_their_colours_unless_none_are_wanted(client: tidegate.Client):
    client.sql("select 1").wait()
    assert f"{GREEN}SUCCEEDED" in at_terminal(["jobs"], client.url).text
    plain = at_terminal(["jobs"], client.url, NO_COLOR="1")
    assert GREEN not in plain.text
    assert "SUCCEEDED" in plain.text


def test_a_table_fits_a_narrow_terminal(client: tidegate.Client):
    client.sql(
        "select 1", name="a name that is longer than the terminal is wide, by quite some letters"
    ).wait()
    for arguments in (["jobs"], ["sources", "list"], ["queues", "list"]):
        done = at_terminal(arguments, client.url, columns=60)
        assert done.code == 0, done.text
        assert max(map(len, done.lines)) <= 60, done.lines


def test_facts_stand_in_two_columns(client: tidegate.Client):
    job = client.sql("select 1", name="the first").wait()
    done = at_terminal(["job", "show", job.id], client.url)
    assert ["name", "the", "first"] in [line.lower().split() for line in done.lines]
    assert f"{GREEN}SUCCEEDED" in done.text


def test_a_running_query_has_a_live_line_and_ctrl_c_cancels_it(client: tidegate.Client):
    done = at_terminal(["sql", SLOW_SQL], client.url, when=" runs ", press=CTRL_C)
    assert done.code == 130, done.text
    assert not any(" runs  " in line for line in done.lines)
    job = next(iter(client.jobs()))
    assert job.wait(30, raise_on_failure=False).status == "CANCELLED"


def test_files_that_are_loaded_have_a_line_each_until_they_are_done(tmp_path: Path):
    file = tmp_path / "orders.csv"
    file.write_text("id,city\n" + "".join(f"{number},Kiel\n" for number in range(300_000)))
    with live_client(tmp_path / "data", source_roots=[tmp_path]) as client:
        done = at_terminal(["ingest", str(file), "--table", "orders"], client.url)
    assert done.code == 0, done.text
    assert " of 1 done" in done.text
    assert not any(" of 1 done" in line for line in done.lines[-3:])
    assert any("300,000" in line for line in done.lines), done.lines
