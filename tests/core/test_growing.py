"""Sources that grow by loads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.growing import MOST_PARTS, common_type, grown
from tidegate.core.source import Growth, Source, SourceColumn, SourcePart
from tidegate.errors import Conflict

AT = datetime(2026, 1, 31, tzinfo=UTC)
TYPES = st.sampled_from(
    ["TINYINT", "INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT", "DATE", "TIMESTAMP", "TIME", "BOOLEAN", "VARCHAR",
     "DECIMAL(38,0)"]
)  # fmt: skip
LOADS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("abcd"), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)


def growth(job_id: int, load: str, *, instead: bool = False, again: bool = False, rows: int = 3) -> Growth:
    part = SourcePart(f"results/parts/{load}-{job_id}.parquet", rows, 100, job_id, load, f"{load}.csv")
    return Growth("trips", "ann", part, (SourceColumn("n", "BIGINT"),), instead, again)


@given(TYPES, TYPES)
def test_a_common_type_does_not_depend_on_order_and_holds_both(one: str, other: str):
    common = common_type(one, other)
    assert common == common_type(other, one)
    assert common_type(common, one) == common_type(common, other) == common


@given(TYPES, TYPES, TYPES)
def test_text_comes_of_all_that_has_nothing_in_common(one: str, two: str, three: str):
    types = {common_type(common_type(one, two), three), common_type(one, common_type(two, three))}
    assert len(types) == 1 or "VARCHAR" in types


def test_whole_numbers_stay_numbers_beside_longer_ones():
    assert common_type("BIGINT", "DECIMAL(38,0)") == "DECIMAL(38,0)"
    assert common_type("HUGEINT", "DECIMAL(38,0)") == "VARCHAR"  # of 39 digits
    assert common_type("DOUBLE", "DECIMAL(38,0)") == "VARCHAR"  # one would round the other


@given(LOADS)
def test_whatever_comes_a_source_has_its_loads_once_and_says_how_many_rows(loads):
    source: Source | None = None
    for job_id, load, instead, again in loads:
        before = source
        made = grown(source, growth(job_id, load, instead=instead, again=again), AT)
        source = made or source
        assert source is not None
        assert source.row_count == 3 * len(source.parts)
        assert source.file_count == len(source.parts)
        assert load in [part.load for part in source.parts]
        if made is None:
            assert before == source
            assert not again
        elif instead:
            assert {part.job_id for part in source.parts} == {job_id}
    if not any(again for *_, again in loads):
        assert source is not None
        names = [part.load for part in source.parts]
        assert len(names) == len(set(names))


def test_names_of_columns_meet_without_regard_to_case():
    first = grown(None, growth(1, "a"), AT)
    more = replace(growth(2, "b"), columns=(SourceColumn("N", "DOUBLE"), SourceColumn("m", "DATE")))
    made = grown(first, more, AT)
    assert made is not None
    assert made.columns == (SourceColumn("n", "DOUBLE"), SourceColumn("m", "DATE"))
    assert (made.created_at, made.path) == (AT, "results/parts/a-1.parquet")


def test_a_source_that_was_not_made_by_loads_does_not_grow():
    other = Source("trips", "csv", "/data/trips.csv", "ann", AT)
    with pytest.raises(Conflict, match="not made by ingest jobs"):
        grown(other, growth(1, "a"), AT)


def test_a_source_has_only_so_many_parts():
    source = grown(None, growth(1, "a"), AT)
    assert source is not None
    full = replace(source, parts=source.parts * MOST_PARTS)
    with pytest.raises(Conflict) as caught:
        grown(full, growth(2, "b"), AT)
    assert caught.value.numbers == {"limit": MOST_PARTS}
    assert grown(full, growth(2, "b", instead=True), AT) is not None
