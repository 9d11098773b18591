"""A line of a log is JSON, whatever is logged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.telemetry.lines import json_line

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(Path, st.just("a")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def no_number(name: str) -> Any:
    raise AssertionError(f"RFC 8259 has no number {name}")


@given(st.dictionaries(st.text(st.characters(), min_size=1), VALUES))
def test_whatever_is_logged_makes_one_line_that_json_reads(fields: dict[str, Any]):
    line = json_line(fields)
    assert set(json.loads(line, parse_constant=no_number)) == set(fields)
    assert "\n" not in line
    line.encode()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_is_told_as_text(number: float):
    line = json_line({"share": number, "inside": [{"of": (number, 0.5)}]})
    assert json.loads(line, parse_constant=no_number) == {
        "share": str(number),
        "inside": [{"of": [str(number), 0.5]}],
    }
