from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.name_set import NameSet

NAMES = st.text(max_size=20)


@given(st.lists(NAMES), st.lists(NAMES), NAMES)
def test_it_has_what_was_added_and_nothing_else(first: list[str], later: list[str], other: str) -> None:
    names = NameSet(first)
    assert all(name in names for name in first)
    for name in later:
        names.add(name)
    assert all(name in names for name in [*first, *later])
    assert (other in names) == (other in {*first, *later})


def test_a_name_of_a_file_that_is_no_text_is_a_name() -> None:
    odd = b"\xff.parquet".decode("utf-8", "surrogateescape")
    assert odd in NameSet([odd])
    assert "\ufffd.parquet" not in NameSet([odd])
