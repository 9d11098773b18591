"""From JSON values to Python values by SQL type: dates, times, decimals, bytes, also inside lists, structs and maps.

What Python cannot hold (years beyond 9999, `infinity`, intervals) stays the text that the server sent.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, TypeAlias

Reader: TypeAlias = Callable[[Any], Any] | None
"""Turns one JSON value that is not null into its Python value; None: it is that already."""

_ESCAPED_BYTE = re.compile(rb"\\x([0-9A-Fa-f]{2})")


def _decimal(value: Any) -> Any:
    try:
        return Decimal(value)
    except InvalidOperation:
        return value


def _text_or(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        try:
            return parse(value)
        except (ValueError, TypeError):
            return value

    return read


def _bytes(text: str) -> bytes:
    return _ESCAPED_BYTE.sub(lambda match: bytes([int(match.group(1), 16)]), text.encode("utf-8"))


_SIMPLE: dict[str, Reader] = {
    "DATE": _text_or(date.fromisoformat),
    "TIME": _text_or(time.fromisoformat),
    "TIMESTAMP": _text_or(datetime.fromisoformat),
    "TIMESTAMP_S": _text_or(datetime.fromisoformat),
    "TIMESTAMP_MS": _text_or(datetime.fromisoformat),
    "TIMESTAMP_NS": _text_or(datetime.fromisoformat),
    "TIMESTAMP WITH TIME ZONE": _text_or(datetime.fromisoformat),
    "TIMESTAMPTZ": _text_or(datetime.fromisoformat),
    "BLOB": _text_or(_bytes),
    "FLOAT": _text_or(float),
    "DOUBLE": _text_or(float),
}


@lru_cache(maxsize=1024)
def reader_of(type_text: str, base64_blobs: bool = False) -> Reader:
    """The reader of an SQL type such as `DATE`, `DECIMAL(18,3)`, `DATE[]`, `STRUCT(a DATE, b VARCHAR)`.

    Bytes come as base64 in answers and as text with `\\xFF` escapes in JSON lines, as DuckDB writes them.
    """
    text = type_text.strip()
    if text.endswith("]"):
        return _list_reader(reader_of(text[: text.rindex("[")], base64_blobs))
    name, _, inner = text.partition("(")
    name = name.upper().strip()
    if name == "STRUCT":
        return _struct_reader([_field(part, base64_blobs) for part in _split(inner[:-1])])
    if name == "MAP":
        return _map_reader([reader_of(part, base64_blobs) for part in _split(inner[:-1])])
    if name in ("DECIMAL", "NUMERIC"):
        return _decimal
    if name == "BLOB" and base64_blobs:
        return b64decode
    return _SIMPLE.get(name)


def _list_reader(inner: Reader) -> Reader:
    if inner is None:
        return None
    return lambda values: [None if value is None else inner(value) for value in values]


def _struct_reader(fields: Sequence[tuple[str, Reader]]) -> Reader:
    readers = {name: reader for name, reader in fields if reader is not None}
    if not readers:
        return None

    def read(value: Any) -> Any:
        return {
            name: readers[name](part) if name in readers and part is not None else part
            for name, part in value.items()
        }

    return read


def _map_reader(parts: Sequence[Reader]) -> Reader:
    """A map comes as an object (its keys are text) or as a list of `{key, value}`."""
    key, value = parts
    if key is None and value is None:
        return None

    def apply(reader: Reader, part: Any) -> Any:
        return part if reader is None or part is None else reader(part)

    def read(entries: Any) -> Any:
        pairs = entries.items() if isinstance(entries, dict) else ((e["key"], e["value"]) for e in entries)
        return {apply(key, name): apply(value, part) for name, part in pairs}

    return read


def _split(text: str) -> list[str]:
    """Parts between the commas that stand outside parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in "()":
            depth += 1 if char == "(" else -1
        elif not quoted and depth == 0 and char == ",":
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _field(part: str, base64_blobs: bool) -> tuple[str, Reader]:
    if part.startswith('"'):
        end = part.index('"', 1)
        while part[end + 1 : end + 2] == '"':
            end = part.index('"', end + 2)
        return part[1:end].replace('""', '"'), reader_of(part[end + 1 :], base64_blobs)
    name, _, type_text = part.partition(" ")
    return name, reader_of(type_text, base64_blobs)


class LineReader:
    """Reads the lines of a JSON lines download into dicts of Python values."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self._readers = [
            (name, reader) for name, type_text in columns if (reader := reader_of(type_text)) is not None
        ]
        # Digits of a decimal would be lost on the way through a float.
        exact = any("DECIMAL" in type_text.upper() for _, type_text in columns)
        self._decoder = json.JSONDecoder(parse_float=Decimal) if exact else json.JSONDecoder()

    def __call__(self, line: str) -> dict[str, Any]:
        row: dict[str, Any] = self._decoder.decode(line)
        for name, reader in self._readers:
            if row.get(name) is not None:
                row[name] = reader(row[name])
        return row
