"""Column types and table options that every database takes for the same thing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Dialect, Float, Integer, String, Text
from sqlalchemy.dialects import mysql

COLLATIONS = {"mysql": "utf8mb4_0900_bin", "mariadb": "utf8mb4_nopad_bin"}
"""Text compares byte by byte, trailing spaces too, as it does elsewhere by itself."""

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite keeps only an INTEGER key as the row's own id
Name = String(255)
Short = String(63)  # owners and queues; MySQL takes 3072 bytes of key, four for each letter
Word = String(16)
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")  # TEXT ends at 64 KiB there
# FLOAT has 24 bits there, and DOUBLE would be read as Decimal, which JSON cannot hold.
Real = Float().with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")

OPTIONS: dict[str, Any] = {
    f"{name}_{option}": value
    for name, collation in COLLATIONS.items()
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", collation))
}
WITHOUT_ROWID: dict[str, Any] = {"sqlite_with_rowid": False, **OPTIONS}


def has_partial_indexes(*_: Any, dialect: Dialect, **__: Any) -> bool:
    """Whether a database can index some rows of a table only; for `ddl_if`."""
    return dialect.name in ("sqlite", "postgresql")


def has_no_partial_indexes(*_: Any, dialect: Dialect, **__: Any) -> bool:
    return not has_partial_indexes(dialect=dialect)
