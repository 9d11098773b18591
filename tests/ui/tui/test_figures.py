"""Text, bars, tables: what is drawn fits, and says what it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tidegate.errors import AccessDenied, Busy, ServerUnreachable
from tidegate.ui.tui.cells import (
    ASCII,
    UNICODE,
    Span,
    bar,
    cell,
    fitted,
    of_bytes,
    percent,
    span_of_time,
    sparkline,
    text_of,
    width_of,
)
from tidegate.ui.tui.columns import GAP, Column, Row, Table, head_line, layout, row_line, sorted_rows
from tidegate.ui.tui.pace import FIRST_S, LONGEST_S, Pace
from tidegate.ui.tui.themes import chosen_theme

texts = st.text("ab 雨é\x1b\t", max_size=12)


@given(st.lists(texts, max_size=4), st.integers(0, 30), st.booleans())
def test_what_is_fitted_has_exactly_its_width(parts: list[str], width: int, right: bool):
    spans = [span for part in parts for span in cell(part)]
    assert width_of(fitted(spans, width, "…", right=right)) == width


def test_what_is_cut_says_so_and_wide_characters_are_not_halved():
    assert text_of(fitted(cell("rain in Rome"), 7, "…")) == "rain i…"
    assert text_of(fitted(cell("雨の日"), 4, "…")) == "雨 …"
    assert text_of(fitted(cell("7"), 3, "…", right=True)) == "  7"


def test_control_characters_do_not_reach_the_terminal():
    assert text_of(cell("a\x1b[2Jb\nc")) == "a\\x1b[2Jb⏎c"


@given(st.floats(0, 1), st.integers(2, 40))
def test_a_bar_shows_nothing_and_all_only_for_nothing_and_all(share: float, cells: int):
    done, rest = (len(span.text) for span in bar(share, cells, UNICODE))
    assert done + rest == cells
    assert (done == 0) == (share == 0.0)
    assert (rest == 0) == (share == 1.0)


def test_a_sparkline_ends_at_the_right_with_the_newest():
    assert text_of(sparkline([0.0, 0.5, 1.0], 5, UNICODE)) == "  ▁▅█"
    assert text_of(sparkline([0.0, 0.5, 1.0], 2, ASCII)) == "=#"


def test_amounts_are_short_and_keep_their_units():
    assert of_bytes(312 << 20, 400 << 20) == "312 of 400 MiB"
    assert of_bytes(312 << 20, 4 << 30) == "312 MiB of 4 GiB"
    assert of_bytes(0, 4 << 30) == "0 of 4 GiB"
    assert percent(0.755) == "76 %"
    assert [span_of_time(s) for s in (-1, 42, 99.6, 5000, 4 * 3600, 80 * 3600)] == [
        "0 s",
        "42 s",
        "2 min",
        "83 min",
        "4.0 h",
        "3 d",
    ]


@given(st.lists(st.lists(texts, min_size=4, max_size=4), max_size=5), st.integers(20, 80))
def test_a_table_is_never_wider_than_its_room(cells: list[list[str]], width: int):
    columns = (
        Column("Job", right=True, least=3),
        Column("Name", least=4),
        Column("Owner", spare=1),
        Column("Why", least=5),
    )
    rows = [Row(str(n), [cell(text) for text in row], [None] * 4) for n, row in enumerate(cells)]
    table = Table("Jobs", columns, rows)
    widths = layout(table, width)
    room = sum(each for _, each in widths) + GAP * (len(widths) - 1)
    assert room <= width
    assert [index for index, _ in widths if index != 2] == [0, 1, 3]
    for line in (head_line(table, widths, UNICODE), *(row_line(table, row, widths, UNICODE) for row in rows)):
        assert width_of(line) == room


def test_what_is_least_needed_is_left_out_first_and_so_is_what_says_nothing():
    columns = (Column("Job"), Column("Kind", spare=2), Column("Owner", spare=1), Column("Tasks", spare=3))
    rows = [Row("1", (cell("1"), cell("sql"), cell("ann"), cell(None)), (1, "sql", "ann", None))]
    table = Table("Jobs", columns, rows)
    assert [index for index, _ in layout(table, 80)] == [0, 1, 2]
    assert [index for index, _ in layout(table, 10)] == [0, 2]
    assert [index for index, _ in layout(table, 5)] == [0]


@pytest.mark.parametrize(("descending", "order"), [(False, ["a", "c", "b"]), (True, ["c", "a", "b"])])
def test_rows_without_a_value_come_last_whichever_way_is_sorted(descending: bool, order: list[str]):
    rows = [Row(key, (), (value,)) for key, value in (("a", 1), ("b", None), ("c", 2))]
    assert [row.key for row in sorted_rows(Table("", (), rows), 0, descending)] == order


def test_a_span_is_as_wide_as_the_terminal_shows_it():
    assert width_of((Span("雨"), Span("a"))) == cell_len("雨a") == 3


@pytest.mark.parametrize(
    ("wanted", "environment", "theme"),
    [
        ("auto", {}, "dark"),
        ("auto", {"COLORFGBG": "15;0"}, "dark"),
        ("auto", {"COLORFGBG": "0;15"}, "light"),
        ("auto", {"COLORFGBG": "0;default;7"}, "light"),
        ("dark", {"COLORFGBG": "0;15"}, "dark"),
        ("auto", {"TERM": "linux"}, "terminal"),
        ("dark", {"NO_COLOR": "1"}, "terminal"),
    ],
)
def test_the_colours_go_by_what_the_terminal_says(wanted: str, environment: dict[str, str], theme: str):
    assert chosen_theme(wanted, environment) == theme


def test_a_slow_server_is_asked_less_and_one_that_is_away_ever_less():
    pace = Pace(2.0)
    assert pace.answered(0.1) == pytest.approx(1.9)
    assert pace.answered(2.0) == pytest.approx(6.0)
    assert pace.answered(60.0) == LONGEST_S
    away = ServerUnreachable("It is away.")
    assert [pace.failed(away) for _ in range(7)] == [FIRST_S, 2.0, 4.0, 8.0, 16.0, LONGEST_S, LONGEST_S]
    pace.answered(0.1)
    assert pace.failed(away) == FIRST_S
    assert pace.failed(Busy("Later.", retry_after_s=7.0, numbers={"retry_after_s": 7.0})) == 7.0
    assert pace.failed(AccessDenied("No such key.")) == LONGEST_S
