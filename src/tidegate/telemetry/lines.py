"""A line of a log as JSON that every reader takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["json_line", "writable"]


def json_line(fields: Mapping[str, Any]) -> str:
    """The fields as one JSON object; what JSON has no form for becomes text.

    So do the numbers `nan` and `inf`, which RFC 8259 section 6 does not know: readers such as jq and Elasticsearch refuse the
    whole line for one.
    """
    try:
        return _dumped(fields)
    except ValueError:
        return _dumped(_finite(fields))


def writable(text: str) -> str:
    """With what UTF-8 has no bytes for as `\\udce9`, which JSON reads back: a name of a file need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dumped(fields: Any) -> str:
    return writable(
        json.dumps(fields, default=str, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
