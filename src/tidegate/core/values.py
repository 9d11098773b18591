"""Python values as JSON and back, for the arguments and results of functions. Never pickle: reading a value runs no code.

JSON's own values stand for themselves. What JSON has no word for is an object with two names: `{"$type": "bytes", "value":
"AP8="}`. docs/functions.md has the table. Both ways are exact: what comes back equals what went in, and has its type.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tidegate.errors import InvalidInput

TAG = "$type"
VALUE = "value"
DEEPEST = 100
"""Most containers inside each other."""
EXACT_INTEGER = 2**53
"""Whole numbers from here on are tagged: many readers of JSON would round them."""
_MOST_DIGITS_BITS = 12_000
"""Python turns no longer whole numbers into decimal text (PEP 678 of 3.11: 4,300 digits); these go as hexadecimal."""


class NotPortable(InvalidInput):
    """A value that has no place in the format; the message says where it stands."""

    code = "bad_value"


def encode(value: Any, *, where: str = "value") -> Any:
    """The value in JSON's own types. Raises NotPortable for what has no place in the format.

    Types are taken exactly: a subclass, such as an IntEnum or a named tuple, would come back as another type.
    """
    return _encode(value, where, 0)


def decode(value: Any, *, where: str = "value") -> Any:
    """The Python value of what `encode` answered, or of any JSON. Raises NotPortable for an unknown or broken tag."""
    return _decode(value, where, 0)


def _encode(value: Any, where: str, depth: int) -> Any:
    _check_depth(where, depth)
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _text(value, where)
    if kind is int:
        return value if -EXACT_INTEGER < value < EXACT_INTEGER else _tagged("int", _digits(value))
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if kind is list:
        return [_encode(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    if kind is dict:
        return _encode_dict(value, where, depth)
    if kind is tuple:
        return _tagged("tuple", _encode(list(value), where, depth))
    if kind in (set, frozenset):
        items = _encode(list(value), where, depth)
        return _tagged(kind.__name__, sorted(items, key=lambda item: json.dumps(item, sort_keys=True)))
    writer = _WRITERS.get(kind)
    if writer is None:
        raise NotPortable(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which cannot be sent. Turn it into text, numbers, lists or "
            "dicts; docs/functions.md has all types."
        )
    return _tagged(kind.__name__, writer(value))


def _encode_dict(value: dict[Any, Any], where: str, depth: int) -> Any:
    if TAG not in value and all(type(key) is str for key in value):
        return {
            _text(key, where): _encode(item, f"{where}[{key!r:.40}]", depth + 1)
            for key, item in value.items()
        }
    pairs = [
        [_encode(key, f"a key of {where}", depth + 2), _encode(item, f"{where}[{key!r:.40}]", depth + 2)]
        for key, item in value.items()
    ]
    return _tagged("dict", pairs)


def _decode(value: Any, where: str, depth: int) -> Any:
    _check_depth(where, depth)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, list):
        return [_decode(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if TAG not in value:
        return {
            _text(key, where): _decode(item, f"{where}[{key!r:.40}]", depth + 1)
            for key, item in value.items()
        }
    name = value[TAG]
    reader = _READERS.get(name) if isinstance(name, str) else None
    if reader is None or set(value) != {TAG, VALUE}:
        raise NotPortable(
            f"{where} has {TAG!r}: {name!r:.40}, which is no type of the format, or has other names beside `{VALUE}`."
        )
    try:
        inner = value[VALUE]
        if name in _CONTAINERS:
            if not isinstance(inner, list):
                raise TypeError("no list")
            inner = _decode(inner, where, depth)
        return reader(inner)
    except NotPortable:
        raise
    except (ValueError, TypeError, ArithmeticError):
        raise NotPortable(
            f"{where} is not of the type {name!r} that it claims: {value[VALUE]!r:.60}."
        ) from None


def _check_depth(where: str, depth: int) -> None:
    if depth > DEEPEST:
        raise NotPortable(f"{where:.80} lies more than {DEEPEST} containers deep, or holds itself.")


def _tagged(name: str, value: Any) -> dict[str, Any]:
    return {TAG: name, VALUE: value}


def _text(value: str, where: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise NotPortable(f"{where} holds half of a surrogate pair, which is no text.") from None
    return value


def _digits(value: int) -> str:
    return str(value) if value.bit_length() < _MOST_DIGITS_BITS else hex(value)


def _span(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: base64.b64encode(value).decode(),
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _span,
    Decimal: str,
}


def _read_text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError("no text")
        return read(value)

    return checked


def _whole(value: str) -> int:
    if len(value) > 4 * _MOST_DIGITS_BITS and not value.lstrip("-").startswith("0x"):
        raise ValueError("too many digits")
    return int(value, 0)


def _read_span(value: Any) -> timedelta:
    days, seconds, microseconds = value
    if not all(type(part) is int for part in value):
        raise TypeError("no whole numbers")
    return timedelta(days, seconds, microseconds)


def _not_finite(value: str) -> float:
    number = float(value)
    if math.isfinite(number):
        raise ValueError("a plain number")
    return number


_CONTAINERS = frozenset({"tuple", "set", "frozenset", "dict"})
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "bytes": _read_text(lambda text: base64.b64decode(text, validate=True)),
    "datetime": _read_text(datetime.fromisoformat),
    "date": _read_text(date.fromisoformat),
    "time": _read_text(time.fromisoformat),
    "timedelta": _read_span,
    "Decimal": _read_text(Decimal),
    "int": _read_text(_whole),
    "float": _read_text(_not_finite),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda pairs: {key: item for key, item in pairs},  # noqa: C416 - two values each, or it is refused
}
TYPES = tuple(_READERS)
"""The names that a tag may have."""
