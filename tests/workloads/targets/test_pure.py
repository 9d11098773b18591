"""Addresses, names and ids: what needs no database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import InvalidInput
from tidegate.workloads.targets.address import parse_address
from tidegate.workloads.targets.failures import failure
from tidegate.workloads.targets.model import Mode, load_id_of
from tidegate.workloads.targets.names import NameRules, bytes_of, plain, plain_bmp


def test_an_address_shows_neither_user_nor_password() -> None:
    address = parse_address("postgresql+psycopg://ann:p%40ss@db.example:6000/sales?sslmode=require")
    assert (address.user, address.password, address.host, address.port) == ("ann", "p@ss", "db.example", 6000)
    assert str(address) == "postgresql://db.example:6000/sales"
    for shown in (str(address), repr(address), f"{address!s}{address!r}"):
        assert "p@ss" not in shown
        assert "ann" not in shown
    assert address.needs.connect_ports == (6000, 53)
    assert address.needs.writable_paths == ()


def test_sqlite_needs_the_folder_of_its_file(tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    address = parse_address(f"sqlite:///{tmp_path}/link/a%20b.db")
    assert address.database == f"{tmp_path.resolve()}/real/a b.db"
    assert address.needs.writable_paths == (f"{tmp_path.resolve()}/real",)
    assert address.needs.connect_ports == ()


@pytest.mark.parametrize(
    "url",
    [
        "", "x", 7, None, "oracle://u:hunter2@h/d", "postgresql://u:hunter2@h", "postgresql://u:hunter2@h/a/b",
        "postgresql://u:hunter2@h:99999/d", "postgresql://u:hunter2@h/d?service=x", "postgresql://u:hunter2@h/d?sslmode=hunter2",
        "mysql://u:hunter2@h/d?read_default_file=/etc/passwd", "mysql://u:hunter2@h/d#f", "mysql+odd://u:hunter2@h/d",
        "sqlite://", "sqlite:///", "sqlite://host/path.db", "sqlite:////tmp/x.db?mode=ro", "postgresql://u:hunt\ner2@h/d",
        "postgresql://u:hunter2@[::1/d", "postgresql://u:hunter2@h/d?sslmode=verify-ca",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_secrets(url: object) -> None:
    with pytest.raises(InvalidInput) as told:
        parse_address(url)
    assert "hunter2" not in str(told.value)


@given(st.text(max_size=300))
def test_whatever_is_given_is_an_address_or_refused(url: str) -> None:
    for text in (url, f"postgresql://u:p@h/{url}", f"mysql://{url}@h/d", f"sqlite:////{url}"):
        try:
            parse_address(text)
        except InvalidInput:
            continue


RULES = [NameRules('"', 63, bytes_of, plain), NameRules("`", 64, len, plain_bmp)]


@given(st.lists(st.text(min_size=1, max_size=100), min_size=1, max_size=5, unique=True))
def test_names_fit_and_stay_apart(names: list[str]) -> None:
    for rules in RULES:
        fitted = [rules.fitted(name) for name in names]
        assert all(rules.length(name) <= rules.most and all(map(rules.allowed, name)) for name in fitted)
        assert len(set(fitted)) == len(names)
        assert all(rules.length(rules.fitted(name, "_bad_rows")) <= rules.most for name in names)


def test_a_load_s_id_depends_on_all_that_changes_what_is_written() -> None:
    base: dict[str, Any] = {"content_sha256": "a" * 64, "sheet": "s", "table": "t", "mode": Mode.APPEND}
    changes: list[dict[str, Any]] = [
        {},
        {"sheet": "u"},
        {"table": "u"},
        {"mode": Mode.REPLACE},
        {"keys": ["id"]},
        {"options": {"a": 1}},
        {"schema": "x"},
    ]
    ids = [load_id_of(**{**base, **change}) for change in changes]
    assert len(set(ids)) == len(ids)
    assert ids[0] == load_id_of(**base)
    assert all(len(each) == 64 for each in ids)


@pytest.mark.parametrize(
    ("code", "retry", "advice"),
    [
        ("target_denied", False, "Grant its user the right that is missing, or load as another user."),
        ("target_full", False, "Make room there, and load again."),
        ("target_lost", True, "It may pass: try again."),
    ],
)
def test_a_failure_says_what_to_do(code: str, retry: bool, advice: str) -> None:
    told = failure("Loading", "Is it\nrunning?", code=code, retry=retry).message
    assert told == f"Loading failed: Is it running. Nothing was loaded. {advice}"
