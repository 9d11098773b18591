from __future__ import annotations

import secrets
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.identity import (
    Caller,
    KeyRecord,
    Role,
    check_owner_name,
    parse_role,
)
from tidegate.core.keys import digest_of, key_id_of, key_matches, make_key
from tidegate.core.names import files_folder, source_key
from tidegate.errors import InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNERS = st.from_regex(r"[a-z0-9][a-z0-9_.@+-]{0,62}", fullmatch=True).filter(lambda name: ".." not in name)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,62}", fullmatch=True)


def test_each_role_may_what_the_one_before_may():
    order = [Role.VIEWER, Role.USER, Role.OPERATOR, Role.ADMIN]
    for i, role in enumerate(order):
        assert [role.may(least) for least in order] == [j <= i for j in range(4)]
    assert [Caller("ann", role, NOW).sees("bob") for role in order] == [False, False, True, True]


def test_a_key_has_256_bits_of_chance_and_can_be_recognised():
    key = make_key("0a1b2c3d4e", secrets.token_urlsafe(32))
    assert key.startswith("tg_0a1b2c3d4e_")
    assert len(key) == 57
    assert key_id_of(key) == "0a1b2c3d4e"


@given(st.text(max_size=80))
def test_whatever_is_shown_is_judged_without_an_error(text: str):
    assert not key_matches(text, None)
    assert key_id_of(text) is None or text.startswith("tg_")


def test_only_the_very_key_matches():
    key = make_key("0a1b2c3d4e", "A" * 43)
    record = KeyRecord("0a1b2c3d4e", digest_of(key), "ann", Role.USER, "", NOW, "root")
    assert key_matches(key, record)
    for other in (key[:-1] + "B", key + "A", key.lower(), ""):
        assert not key_matches(other, record)
    assert key not in repr(record)


@pytest.mark.parametrize("name", ["ann", "ann.b@example.com", "0", "a" * 63, "a_b-c+d"])
def test_names_of_owners(name: str):
    assert check_owner_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Ann", "a/b", "../x", "a..b", ".a", "a" * 64, "ä", "a b", 7, None, "a\n"]
)
def test_names_that_no_owner_has(name: object):
    with pytest.raises(InvalidInput, match="owner must be"):
        check_owner_name(name)


def test_a_role_that_is_none_lists_those_there_are():
    with pytest.raises(InvalidInput, match="viewer, user, operator, admin"):
        parse_role("root")


@given(OWNERS, NAMES, OWNERS, NAMES)
def test_two_owners_never_have_the_same_source_or_folder(owner: str, name: str, other: str, another: str):
    same = owner == other and name.lower() == another.lower()
    assert (source_key(owner, name) == source_key(other, another)) == same
    assert (files_folder(owner) == files_folder(other)) == (owner == other)
