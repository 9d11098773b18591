"""`tidegate usage` and the times and CSV of `tidegate audit`, in real processes against a real server."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator

import pytest

import tidegate
from tests.client.live import live_client
from tests.ui.test_commands import run
from tidegate.client import calls

TIME = ("--from", "2026-01-01", "--to", "2099-12-31")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tidegate.Client]:
    """Of a server that has run three jobs, of which one failed, and one of its own, which looked at a file."""
    with live_client(tmp_path_factory.mktemp("used") / "data") as made:
        for sql, queue in (("select 1", "a"), ("select 2", "b"), ("select error('on purpose')", "b")):
            with contextlib.suppress(tidegate.JobFailed):
                made.sql(sql, queue=queue).wait()
        yield made


def ask(client: tidegate.Client, *arguments: str, code: int = 0) -> str:
    done = run(*arguments, url=client.url)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_ends_with_the_sums(client: tidegate.Client) -> None:
    shown = ask(client, "usage", "--by", "queue", *TIME)
    assert shown.startswith(
        "Jobs that ended from 2026-01-01T00:00:00.000Z to 2099-12-31T00:00:00.000Z\nQueue "
    )
    found = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +[\d.]+ s ", shown, re.MULTILINE)
    assert found == [
        ("a", "1", "0", "0"),
        ("b", "2", "1", "0"),
        ("interactive", "1", "0", "0"),
        ("all", "4", "1", "0"),
    ]


def test_json_is_what_the_api_says_and_csv_its_rows(client: tidegate.Client) -> None:
    document = json.loads(ask(client, "usage", "--by", "queue", "--json", *TIME))
    assert document == client.usage("queue", since="2026-01-01", until="2099-12-31")
    table = rows(ask(client, "usage", "--by", "queue", "--csv", *TIME))
    assert [(row["name"], row["jobs"], row["failed"]) for row in table[:2]] == [
        ("a", "1", "0"),
        ("b", "2", "1"),
    ]
    assert list(table[0]) == ["name", *document["total"]]
    assert rows(ask(client, "usage", "--csv", "--from", "2026-01-01", "--to", "2026-01-02")) == []


def test_pages_are_read_to_the_last(client: tidegate.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    page = calls.usage.page
    monkeypatch.setattr(calls.usage, "page", lambda *given, **more: page(*given, **more, limit=1))
    found = client.usage("queue")
    assert [item["name"] for item in found["items"]] == ["a", "b", "interactive"]
    assert (found["next_cursor"], found["total"]["jobs"]) == (None, 4)


def test_what_means_nothing_is_wrong_usage(client: tidegate.Client) -> None:
    assert "cannot be had together" in ask(client, "usage", "--json", "--csv", code=4)
    assert "from must be a day" in ask(client, "usage", "--from", "yesterday", code=4)
    assert "cannot be had together" in ask(client, "audit", "--json", "--csv", code=4)


def test_the_audit_trail_is_told_for_a_time_and_as_csv(client: tidegate.Client) -> None:
    table = rows(ask(client, "audit", "--action", "submit", "--csv", *TIME))
    assert [(row["actor"], row["object"]) for row in table] == [("local", f"job {i}") for i in (4, 3, 2)]
    assert json.loads(table[0]["detail"]) == {"jobs": 1, "kind": "sql"}
    assert rows(ask(client, "audit", "--csv", "--to", "2026-01-01")) == []
    assert len(json.loads(ask(client, "audit", "--action", "submit", "--json", "--from", "2026-01-01"))) == 3
