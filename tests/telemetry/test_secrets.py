"""Secrets are not written down, in whatever form they come."""

from __future__ import annotations

import pytest

from tidegate.core.identity import Role
from tidegate.server.doorkeeper import new_key
from tidegate.telemetry.secrets import masked
from tidegate.testing.fakes import FakeClock

SECRET = "hunter2-Zx9"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://ann:{SECRET}@db.example.org/x",
        f"redis://:{SECRET}@127.0.0.1:6379/0 and more",
        f"mysql://u:{SECRET}@ss@db/x",  # an @ within the password
        f"Authorization: Bearer {SECRET}",
        f"authorization=Basic {SECRET}",
        f'{{"api_key": "{SECRET}", "n": 1}}',
        f"X-API-Key: {SECRET}",
        f"password={SECRET}&x=1",
        f"passwd: {SECRET}",
        f"token={SECRET}",
        f"secret_access_key: {SECRET}",
        f'{{"secret-key": "{SECRET}"}}',
        f"Cookie: {SECRET}; path=/",
        f"the bearer {SECRET} was wrong",
    ],
)
def test_of_a_text_all_but_the_secret_is_left(text: str):
    shown = masked("message", text)
    assert SECRET not in shown
    assert "***" in shown
    assert shown.split()[0][:4].lower() == text.split()[0][:4].lower()


@pytest.mark.parametrize(
    "name", ["password", "api_key", "Authorization", "client_secret", "cookie", "access_token"]
)
def test_a_field_of_such_a_name_is_masked_whatever_it_holds(name: str):
    assert masked(name, SECRET) == "***"
    assert masked("data", {"inside": [{name: SECRET}]}) == {"inside": [{name: "***"}]}


def test_our_own_keys_are_known_by_their_form():
    key, record = new_key("ann", Role.USER, by="test", now=FakeClock().now())
    shown = masked("message", f"The key {key} opens nothing.")
    assert shown == "The key tg_*** opens nothing."
    assert record.id in masked("message", f"Key {record.id} was revoked.")


@pytest.mark.parametrize(
    "text",
    [
        "12 tasks wait in etl.",
        "http://127.0.0.1:8420/metrics",
        "key 0a1b2c3d4e",
        "The secretary: Ann",
        "tokens: 3 of 5 left in a@b.org",
        "",
    ],
)
def test_what_is_none_stays_as_it_is(text: str):
    assert masked("message", text) == text


def test_what_is_no_text_is_shown_as_the_text_it_gives():
    assert masked("error", ValueError(f"no answer from redis://:{SECRET}@127.0.0.1")) == (
        "no answer from redis://:***@127.0.0.1"
    )
    assert masked("data", {"errors": [OSError(f"password={SECRET}")]}) == {"errors": ["password=***"]}
    assert [masked("n", value) for value in (None, True, 3, 0.5)] == [None, True, 3, 0.5]
