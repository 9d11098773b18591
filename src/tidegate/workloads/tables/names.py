"""Names of columns, cleaned so that every database takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
