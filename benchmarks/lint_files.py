"""SQL files as a repository of queries has them, made by a seed: some hundred bytes to some KB, tidy and untidy."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator, Mapping

CONFIG = "[sqlfluff]\ndialect = ansi\nuse_rust_parser = auto\n"
"""The `.sqlfluff` file beside them. With `sqlfluffrs` installed, `auto` is the parser in Rust."""
MIB = 1024 * 1024
_TABLES = ("orders", "customers", "line_items", "shipments", "refunds", "sessions", "prices", "stores")
_COLUMNS = (
    "id",
    "created_at",
    "status",
    "amount",
    "currency",
    "country",
    "customer_id",
    "order_id",
    "quantity",
    "sku",
)


def files(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Names and texts; no two texts are alike, and those of another seed are others."""
    chance = random.Random(seed)
    for number in range(count):
        parts = [chance.choice(_KINDS)(chance) for _ in range(chance.randint(1, 4))]
        head = f"-- Report {number} of set {seed}: {' and '.join(chance.sample(_TABLES, 2))}, refreshed each night.\n"
        yield f"reports/{number % 20:02}/report_{number:04}.sql", head + ";\n\n".join(parts) + ";\n"


def pathological() -> Iterator[tuple[str, str | bytes]]:
    """Five files that take for ever, or far more memory than a file may use, and a bomb."""
    loop = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}SELECT 1 AS one\n"
    for number in range(3):
        yield f"bad/loop_{number}.sql", f"-- {number}\n{loop}"
    yield "bad/memory.sql", "{% set long = 'x' * 3000000000 %}SELECT 1 AS one\n"
    yield "bad/nested.sql", "SELECT " + "(" * 4000 + "1" + ")" * 4000 + " AS one\n"
    yield "bad/bomb.sql", b"0" * (200 * MIB)


def zipped(contents: Mapping[str, str | bytes]) -> bytes:
    """They and their configuration as an archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(".sqlfluff", CONFIG)
        for name, content in contents.items():
            archive.writestr(name, content)
    return made.getvalue()


def _word(text: str, chance: random.Random) -> str:
    return text.upper() if chance.random() < 0.85 else text.lower()


def _list(chance: random.Random, alias: str, most: int = 6) -> str:
    columns = chance.sample(_COLUMNS, chance.randint(2, most))
    comma = ",\n    " if chance.random() < 0.8 else " ,\n   "
    return comma.join(f"{alias}.{name}" for name in columns)


def _select(chance: random.Random) -> str:
    one, other = chance.sample(_TABLES, 2)
    joined = chance.choice(("INNER JOIN", "LEFT JOIN", "join"))
    return (
        f"{_word('select', chance)}\n    {_list(chance, 'a')},\n    sum(b.amount) AS total_{chance.randrange(100)}\n"
        f"FROM {one} AS a\n{joined} {other} AS b ON a.id = b.{one[:-1]}_id\n"
        f"WHERE a.created_at >= '2026-{chance.randint(1, 12):02}-01' {_word('and', chance)} a.amount > "
        f"{chance.randrange(900)}\n"
        f"GROUP BY {', '.join(f'a.{name}' for name in chance.sample(_COLUMNS, 2))}"
    )


def _with(chance: random.Random) -> str:
    table = chance.choice(_TABLES)
    return (
        f"WITH recent AS (\n    SELECT\n    {_list(chance, 't')}\n    FROM {table} AS t\n"
        f"    WHERE t.status IN ('open', 'paid','sent')\n),\n\n"
        f"ranked AS (\n    SELECT\n        r.*,\n"
        f"        row_number() OVER (PARTITION BY r.customer_id ORDER BY r.created_at DESC) AS place\n"
        f"    FROM recent AS r\n)\n\nSELECT * FROM ranked {_word('where', chance)} place <= {chance.randint(1, 9)}"
    )


def _case(chance: random.Random) -> str:
    arms = "\n".join(
        f"        WHEN amount < {limit} THEN 'up to {limit}'"
        for limit in sorted(chance.sample(range(999), 4))
    )
    return (
        f"SELECT\n    id,\n    CASE\n{arms}\n        ELSE 'more'\n    END AS band_{chance.randrange(100)},\n"
        f"    coalesce(country, 'unknown') as country\nFROM {chance.choice(_TABLES)}\nORDER BY amount"
    )


def _table(chance: random.Random) -> str:
    columns = ",\n".join(
        f"    {name} {chance.choice(('INTEGER', 'VARCHAR(40)', 'DATE', 'DECIMAL(12, 2)'))}"
        for name in chance.sample(_COLUMNS, 6)
    )
    return f"{_word('create', chance)} TABLE summary_{chance.randrange(1000)} (\n{columns}\n)"


def _insert(chance: random.Random) -> str:
    return f"INSERT INTO summary_{chance.randrange(1000)} (id, total)\n{_select(chance)}"


_KINDS = (_select, _select, _with, _with, _case, _table, _insert)
