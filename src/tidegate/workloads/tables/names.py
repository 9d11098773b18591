"""Names of columns, cleaned so that every database takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.model import ColumnType

_LONGEST = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def clean_names(headers: Iterable[str]) -> list[str]:
    """Unique names without regard to case, in the order of the headers; letters of all languages stay.

    An empty header becomes `column_3` by its place from 1, a second `name` becomes `name_2`. At most 200 characters.
    """
    kept = [" ".join(_CONTROL.sub(" ", header).split())[:_LONGEST].strip() for header in headers]
    first = [name or f"column_{place}" for place, name in enumerate(kept, start=1)]
    taken: set[str] = set()
    reserved = {name.casefold() for name in first}
    names = []
    for name in first:
        number, unique = 1, name
        while unique.casefold() in taken or (number > 1 and unique.casefold() in reserved):
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique.casefold())
        names.append(unique)
    return names


def given_types(
    types: Mapping[str, ColumnType], columns: Sequence[tuple[int, str, str]]
) -> dict[int, ColumnType]:
    """The types that were given, by place, for columns of place, cleaned name and header.

    A cleaned name goes before a header. Raises TaskError for a type of a column that the file does not have.
    """
    by_header = {original: place for place, _, original in reversed(columns)}
    by_name = {name: place for place, name, _ in columns}
    known = {**by_header, **by_name}
    for wanted in types:
        if wanted not in known:
            shown = ", ".join(name for _, name, _ in columns[:50])
            raise TaskError(
                f"`options.types` names a column {wanted!r} that the file does not have. It has: {shown}.",
                code="unknown_column",
            )
    return {known[wanted]: kind for wanted, kind in types.items()}
