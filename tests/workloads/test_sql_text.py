"""Names that a query may mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.workloads.sql_text import first_words, table_names


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select * from flights", ["flights"]),
        ("SELECT a FROM Flights f JOIN planes USING (tailnum)", ["Flights", "planes"]),
        ('from "my flights", "a""b"', ["my flights", 'a"b']),
        ("from main.flights", ["flights"]),
        ("from memory.main.flights", ["flights"]),
        ("from a,b", ["a", "b"]),
        ("from(flights)", ["flights"]),
        ("select 'from hidden' from seen", ["seen"]),
        ("select 'it''s hidden' from seen", ["seen"]),
        (r"select e'it\'s hidden' from seen", ["seen"]),
        (r"select '\' from seen --'", ["seen"]),
        ("select $$from hidden$$ from seen", ["seen"]),
        ("select $tag$ $$ hidden $$ $tag$ from seen", ["seen"]),
        ("from seen -- from hidden\n", ["seen"]),
        ("from seen -- from hidden\r\njoin other", ["seen", "other"]),
        ("/* from hidden /* nested */ from hidden2 */ from seen", ["seen"]),
        ("from sëen, 日本", ["sëen", "日本"]),
        ("from seen where x=1.5e3 and y=0x1F", ["seen"]),
        ("from seen/* hidden", ["seen"]),
        ("from seen where x = 'hidden", ["seen"]),
        ("from a semi join b on a.x=b.y", ["a", "b"]),
        ("select*from/**/seen", ["seen"]),
    ],
)
def test_tables_are_found(sql: str, names: list[str]) -> None:
    found = table_names(sql)
    assert [name for name in found if name in names] == names
    assert not [name for name in found if "hidden" in name]


@pytest.mark.parametrize(
    "sql", ["select t.flights from t", "select x as flights from t", "select flights(1) from t"]
)
def test_columns_aliases_and_functions_are_no_tables(sql: str) -> None:
    assert "flights" not in table_names(sql)


@given(st.text(alphabet="ab'\"$/*-.()\n eE\\", max_size=60))
def test_any_text_is_taken_apart(sql: str) -> None:
    assert all(isinstance(name, str) for name in table_names(sql))
    assert len(first_words(sql)) <= 60


@given(st.text(max_size=20), st.sampled_from(["'", '"', "$$", "--", "/*"]))
def test_a_table_before_anything_is_found(rest: str, opening: str) -> None:
    assert "flights" in table_names(f"select * from flights {opening}{rest}")


def test_a_mebibyte_of_openings_takes_no_quadratic_time() -> None:
    assert table_names("/*" * 500_000) == []
    assert len(table_names('"x' * 500_000)) <= 500_000


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("select 1", "select 1"),
        ('select count(*), t."a b"::int from t', 'select count(*), t."a b"::int from t'),
        ("select/* all */1", "select 1"),
        ("-- about\n/* this */ select\n   1", "select 1"),
        ("select '" + "x" * 100 + "'", "select '" + "x" * 51 + "…"),
        ("select '--no comment'", "select '--no comment'"),
        ("--", ""),
    ],
)
def test_first_words(sql: str, name: str) -> None:
    assert first_words(sql) == name
