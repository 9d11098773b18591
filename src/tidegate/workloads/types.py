"""Walks DuckDB's nested types."""

from __future__ import annotations

from collections.abc import Callable

from _duckdb._sqltypes import DuckDBPyType

from tidegate.workloads.literals import quote_name

LOSSLESS_INTEGER = "DECIMAL(38,0)"
"""What results hold for 128-bit integers, such as the sum of integers: Parquet has none, and DuckDB would
write DOUBLE, which silently rounds above 2⁵³."""


def inner_types(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """The types inside a nested one, by name; what else DuckDB lists among its children is left out."""
    return [(name, inner) for name, inner in kind.children if isinstance(inner, DuckDBPyType)]


def cast_type(kind: DuckDBPyType, leaf: Callable[[DuckDBPyType], str | None]) -> str | None:
    """The type with its leaves replaced by what `leaf` names for them; None when it names none.

    `leaf` is asked for every type but lists, arrays, structs and maps.
    """
    if kind.id not in ("list", "array", "struct", "map"):
        return leaf(kind)
    inner = inner_types(kind)
    casts = [cast_type(one, leaf) for _, one in inner]
    if not any(casts):
        return None
    texts = [cast or str(one) for cast, (_, one) in zip(casts, inner, strict=True)]
    if kind.id == "list":
        return f"{texts[0]}[]"
    if kind.id == "array":
        return f"{texts[0]}[{dict(kind.children)['size']}]"
    if kind.id == "map":
        return f"MAP({', '.join(texts)})"
    return f"STRUCT({', '.join(f'{quote_name(name)} {text}' for (name, _), text in zip(inner, texts, strict=True))})"


def parquet_cast(kind: DuckDBPyType) -> str | None:
    """The type to cast a column to before it is written as Parquet; None where the value is kept as it is."""
    return cast_type(kind, lambda one: LOSSLESS_INTEGER if one.id in ("hugeint", "uhugeint") else None)
