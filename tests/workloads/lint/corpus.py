"""SQL in six dialects, made by a seed: tidy and untidy, plain and templated, some of it wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator

DIALECTS = ("ansi", "postgres", "snowflake", "bigquery", "mysql", "tsql")
_TYPES = {
    "ansi": ("INTEGER", "VARCHAR(20)", "DATE"),
    "postgres": ("bigint", "text", "timestamptz"),
    "snowflake": ("NUMBER(38, 0)", "VARIANT", "TIMESTAMP_NTZ"),
    "bigquery": ("INT64", "STRING", "ARRAY<INT64>"),
    "mysql": ("int unsigned", "varchar(20)", "datetime"),
    "tsql": ("INT", "NVARCHAR(20)", "DATETIME2"),
}
_OWN = {
    "ansi": "SELECT a FROM b UNION SELECT c FROM d",
    "postgres": "select a::text, b->>'x' from t where c ilike '%y%' limit 3",
    "snowflake": "select f.value:name::string from t, lateral flatten(input => t.v) f qualify rank() over (order by a) = 1",
    "bigquery": "select * except (a) from `p.d.t` where _partitiontime > timestamp '2020-01-01'",
    "mysql": "insert into t (a) values (1) on duplicate key update a = 2",
    "tsql": "SELECT TOP 3 [a b] FROM dbo.t WITH (NOLOCK)",
}


def files(dialect: str, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Names and texts."""
    chance = random.Random(f"{dialect} {seed}")
    for number in range(count):
        yield f"{dialect}/{number % 7}/f{number}.sql", _text(dialect, number, chance)


def _text(dialect: str, number: int, chance: random.Random) -> str:
    made = (_query, _query, _with, _table, _update, _own, _templated, _broken, _hidden)
    parts = [chance.choice(made)(dialect, number, chance) for _ in range(chance.randint(1, 3))]
    return (";\n" if chance.random() < 0.8 else " ;\n\n\n").join(parts) + chance.choice(
        ("", "\n", ";\n", "\n\n")
    )


def _case(text: str, chance: random.Random) -> str:
    return chance.choice((text, text, text.upper(), text.title()))


def _query(dialect: str, number: int, chance: random.Random) -> str:
    columns = [f"col_{chance.randrange(40)}" for _ in range(chance.randint(1, 8))]
    listed = chance.choice((", ", ",", "\n    , ", ",\n    ")).join(
        f"{column} {_case('as', chance)} c{at}" if chance.random() < 0.3 else column
        for at, column in enumerate(columns)
    )
    text = f"{_case('select', chance)} {listed}\n{_case('from', chance)} tbl_{number} {chance.choice(('t', 'AS t', ''))}\n"
    if chance.random() < 0.5:
        text += f"left join other o on o.id = {columns[0]}\n"
    if chance.random() < 0.6:
        text += f"where {columns[0]} {chance.choice(('=', '<>', '!=', ' >  '))} {number} and x in (1,2 , 3)\n"
    if chance.random() < 0.3:
        text += f"  group by 1, {columns[-1]}\n"
    return text.rstrip("\n") if chance.random() < 0.7 else text


def _with(dialect: str, number: int, chance: random.Random) -> str:
    inner = _query(dialect, number, chance)
    return f"with a as (\n{inner}\n),\nunused as (select 1 as one)\nselect distinct(a.c0), count(1), coalesce(x, null) from a"


def _table(dialect: str, number: int, chance: random.Random) -> str:
    columns = ",\n".join(f"  c{at} {chance.choice(_TYPES[dialect])}" for at in range(chance.randint(1, 5)))
    return f"{_case('create table', chance)} s.t{number} (\n{columns}\n)"


def _update(dialect: str, number: int, chance: random.Random) -> str:
    return f"update t{number} set a = case when b is null then 0 else b end, c=c+1 where id = {number}\t"


def _own(dialect: str, number: int, chance: random.Random) -> str:
    return _OWN[dialect]


def _templated(dialect: str, number: int, chance: random.Random) -> str:
    return (
        "{% set cols = ['a', 'b'] %}\nselect\n{% for c in cols %}  {{ c }} as x_{{ c }},\n{% endfor %}"
        f"  1 as one -- {{{{ {chance.choice(('cols', 'undefined_name', 'given'))} }}}}\nfrom t"
    )


def _broken(dialect: str, number: int, chance: random.Random) -> str:
    return chance.choice(
        ("select from where", "SELECT (1 + ", "this is no sql at all", "select 'open from t")
    )


def _hidden(dialect: str, number: int, chance: random.Random) -> str:
    return chance.choice(
        (
            "SELECT a from b -- noqa",
            "SELECT a from b -- noqa: CP01",
            "-- sqlfluff:max_line_length:20\nselect a_long_name_of_a_column from another_long_name",
            "select 'ü', '表' from tab",
        )
    )
