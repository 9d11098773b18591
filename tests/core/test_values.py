"""What goes into the format comes out of it again, and nothing else goes in or out."""

from __future__ import annotations

import collections
import enum
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.values import DEEPEST, TYPES, NotPortable, decode, encode

texts = st.text(st.characters(exclude_categories=["Cs"]))
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.binary()
    | st.datetimes() | st.datetimes(timezones=zones) | st.dates() | st.times() | st.timedeltas()
    | st.decimals(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.just("$type"), inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and True are three things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(repr, map(type, one))) == sorted(map(repr, map(type, other)))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


@given(values)
def test_what_goes_in_comes_out(value: Any):
    text = json.dumps(encode(value), allow_nan=False)
    assert same(decode(json.loads(text)), value)


@given(st.sets(hashable))
def test_a_set_is_always_written_alike(value: set[Any]):
    again: set[Any] = set()
    again.update(sorted(value, key=repr))
    assert json.dumps(encode(value)) == json.dumps(encode(again))


@pytest.mark.parametrize(
    "value",
    [2**53 - 1, 2**53, -(2**53), 10**5000, -(10**5000), math.inf, -math.inf, math.nan, -0.0, Decimal("sNaN"),
     Decimal("1E+999999"), timedelta.max, timedelta.min,
     datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), datetime.now(UTC),
     {"$type": "bytes", "value": "AA=="}, {"$type": 1}, {(1, "a"): 2}, {None: 1}, [], (), set(), {}, b"", "\0"],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) else f"int of {value.bit_length()} bits",
)  # fmt: skip
def test_edges_come_out_too(value: Any):
    found = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    if isinstance(value, Decimal) and value.is_snan():
        assert found.is_snan()
    else:
        assert same(found, value)


names = texts.filter(lambda name: name != "$type")
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(names, inner),
)


@given(plain)
def test_plain_json_stands_for_itself(value: Any):
    assert encode(value) == value
    assert same(decode(value), value)


Pair = collections.namedtuple("Pair", "a b")


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [object(), Pair(1, 2), Colour.RED, Text("x"), Fraction(1, 2), Path("/x"), 1j, range(3), bytearray(b"x"), print,
     ValueError("x"), {1: object()}, [[object()]], (object(),), {"a": {"b": {1, 2.5, Fraction(1, 3)}}}, "\ud800",
     {"\ud800": 1}, collections.OrderedDict(), collections.defaultdict(list)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_place_is_refused_with_where_it_stands(value: Any):
    with pytest.raises(NotPortable) as caught:
        encode(value, where="args[0]")
    assert "args[0]" in caught.value.message
    assert caught.value.code == "bad_value"


def test_what_holds_itself_is_refused():
    value: list[Any] = []
    value.append((value,))
    with pytest.raises(NotPortable, match="holds itself"):
        encode(value)
    deep: Any = 1
    for _ in range(DEEPEST + 1):
        deep = [deep]
    with pytest.raises(NotPortable, match="deep"):
        decode(deep)


@pytest.mark.parametrize(
    "value",
    [{"$type": "function", "value": "os:system"}, {"$type": "bytes"}, {"$type": "bytes", "value": "?"},
     {"$type": "bytes", "value": 5}, {"$type": "bytes", "value": "AA==", "more": 1}, {"$type": ["bytes"], "value": ""},
     {"$type": "datetime", "value": "yesterday"}, {"$type": "Decimal", "value": "one"}, {"$type": "Decimal", "value": 1.5},
     {"$type": "timedelta", "value": [1]}, {"$type": "timedelta", "value": [1, 2, 3.5]},
     {"$type": "timedelta", "value": [10**12, 0, 0]}, {"$type": "int", "value": "1.5"}, {"$type": "int", "value": 1},
     {"$type": "int", "value": "9" * 100_000}, {"$type": "float", "value": "1.5"}, {"$type": "set", "value": [[1]]},
     {"$type": "set", "value": "abc"}, {"$type": "tuple", "value": {"a": 1}}, {"$type": "dict", "value": [[1]]},
     {"$type": "dict", "value": [[[], 1]]}, {"$type": "dict", "value": [["a", 1, 2]]}, {"$type": None, "value": 1},
     ["\ud800"]],
    ids=lambda value: json.dumps(value)[:40],
)  # fmt: skip
def test_a_broken_tag_is_refused(value: Any):
    with pytest.raises(NotPortable):
        decode(value)


tagged = st.fixed_dictionaries(
    {"$type": st.sampled_from(TYPES) | texts},
    optional={"value": st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
    )},
)  # fmt: skip


@given(st.lists(tagged) | st.dictionaries(st.text(), tagged))
def test_whatever_is_sent_is_a_value_or_a_clear_refusal(value: Any):
    try:
        found = decode(value)
    except NotPortable:
        return
    assert same(decode(encode(found)), found)


def test_the_guide_names_every_type():
    page = (Path(__file__).parents[2] / "docs" / "functions.md").read_text("utf-8")
    table = page.split("| `$type` |")[1].split("\n\n")[0]
    assert [name for name in TYPES if f"`{name}`" not in table] == []
