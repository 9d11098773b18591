from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.resources import (
    GIB,
    KIB,
    MIB,
    Resources,
    format_bytes,
    format_cpus,
    parse_bytes,
    parse_cpus,
)
from tidegate.errors import InvalidInput

amounts = st.integers(-(2**40), 2**40)
resources = st.builds(Resources, amounts, amounts, amounts)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (0, 0),
        (1536.0, 1536),
        ("812", 812),
        ("812 B", 812),
        ("1k", 1000),
        ("64KiB", 64 * KIB),
        ("512MiB", 512 * MIB),
        ("1.5G", 1_500_000_000),
        ("1.5 GiB", 1536 * MIB),
        ("  2gib  ", 2 * GIB),
        ("1TB", 10**12),
        ("1TiB", 1024 * GIB),
    ],
)
def test_bytes_are_read_from_numbers_and_from_text(text, amount):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "GiB",
        "-1",
        "1 2",
        "1XiB",
        "1e9",
        "٣GiB",
        "9" * 5000,
        -1,
        float("nan"),
        float("inf"),
        2**61,
        True,
        None,
        [1],
    ],
)
def test_what_is_no_amount_of_memory_is_refused_by_name(bad):
    with pytest.raises(InvalidInput, match=r"^disk must be"):
        parse_bytes(bad, name="disk")


@pytest.mark.parametrize(("text", "milli"), [(2, 2000), (0.5, 500), ("1.5", 1500), (0, 0), (0.0004, 0)])
def test_cpus_are_counted_in_thousandths(text, milli):
    assert parse_cpus(text) == milli


@pytest.mark.parametrize("bad", ["", "two", -0.1, float("nan"), float("inf"), 100_001, True, None, [1]])
def test_what_is_no_number_of_cpus_is_refused(bad):
    with pytest.raises(InvalidInput, match=r"^cpus must be"):
        parse_cpus(bad)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (256 * MIB, "256 MiB"),
        (int(9.5 * GIB), "9.5 GiB"),
        (1234 * MIB, "1.21 GiB"),
        (150 * GIB + 1, "150 GiB"),
        (2 * 1024 * GIB, "2 TiB"),
        (-3 * MIB, "-3 MiB"),
    ],
)
def test_bytes_are_printed_for_people(amount, text):
    assert format_bytes(amount) == text


def test_cpus_are_printed_for_people():
    assert [format_cpus(milli) for milli in (0, 500, 2000, 1250)] == ["0", "0.5", "2", "1.25"]
    assert str(Resources(500, 2 * GIB)) == "0.5 CPUs, 2 GiB of memory"


@given(st.integers(0, 2**60))
def test_printed_bytes_lose_less_than_one_percent(amount):
    assert parse_bytes(format_bytes(amount)) == pytest.approx(amount, rel=0.01)


@given(resources, resources)
def test_subtracting_undoes_adding_exactly(one, other):
    assert one + other - other == one


@given(resources, resources)
def test_it_fits_exactly_when_nothing_falls_short(asked, available):
    positive = Resources(*(abs(amount) for amount in (asked.cpu_milli, asked.memory_bytes, asked.disk_bytes)))
    assert positive.fits_in(available) is not bool(positive.shortfalls(available))


def test_nothing_asked_fits_even_where_less_than_nothing_is_left():
    assert Resources(0, 1).fits_in(Resources(-1000, 1, -1))


def test_a_shortfall_names_what_is_asked_and_what_there_is():
    short = Resources(3000, 2 * GIB, 5).shortfalls(Resources(1000, GIB, 5))
    assert [str(one) for one in short] == [
        "3 CPUs asked, 1 available",
        "2 GiB of memory asked, 1 GiB available",
    ]
    assert str(Resources(1000).shortfalls(Resources(-500))[0]) == "1 CPU asked, 0 available"
