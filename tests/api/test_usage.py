"""Usage, the history of resources, and the reports of other installations."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from tests.api.support import World, assert_problem, world_in
from tests.api.test_access import House, house_in
from tidegate.api.csv_lines import csv_line
from tidegate.core.readings import Readings, Sample
from tidegate.server.statistics import REPORTS

DAY = {"from": "2026-01-01", "to": "2026-01-02"}
REPORT: dict[str, Any] = {
    "installation": "plant-2",
    "version": "0.1.0",
    **DAY,
    "usage": {"jobs": 3, "failed": 1},
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Where ann has run two jobs."""
    with house_in(tmp_path / "data") as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path / "data") as made:
        yield made


def lines(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_what_jobs_used_is_told_by_user_queue_and_kind(house: House):
    for by, name in (("user", "ann"), ("queue", "default"), ("kind", "sql")):
        answer = house.as_("ann as user", "GET", f"/api/v1/usage?by={by}").json()
        assert answer["by"] == by
        (row,) = answer["items"]
        assert (row["name"], row["jobs"], row["succeeded"], row["failed"]) == (name, 2, 2, 0)
        assert row["cpu_seconds"] == pytest.approx(0.02)  # 0.01 each, as the attempts were played
        assert row["allocated_cpu_seconds"] > 0
        assert 0 <= row["wait_mean_s"] < 60
        assert {**answer["total"], "name": name} == row


def test_the_time_is_widened_to_whole_hours(house: House):
    answer = house.as_(
        "ann as user", "GET", "/api/v1/usage?from=2026-01-01T08:30:00Z&to=2026-01-01T09:00:01Z"
    ).json()
    assert (answer["from"], answer["to"]) == ("2026-01-01T08:00:00.000Z", "2026-01-01T10:00:00.000Z")
    assert answer["items"] == []
    assert answer["total"]["wait_p95_s"] is None
    east = house.as_(
        "ann as user", "GET", "/api/v1/usage?from=2026-01-01T08:00:00%2B02:00&to=2026-01-01"
    ).json()
    assert east["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("from=2026-01-01T08:00:00", "from"),
        ("to=1969-12-31", "to"),
        ("from=9999-12-31", "from"),
        ("from=2026-01-02&to=2026-01-02", "to"),
        ("from=2999-01-01", "from"),
    ],
)
def test_times_that_mean_nothing_are_refused(world: World, query: str, field: str):
    for path in ("/api/v1/usage", "/api/v1/usage/resources"):
        assert assert_problem(world.http.get(f"{path}?{query}"), 422, "invalid_input")["field"] == field


def test_users_see_their_own_operators_all(house: House):
    def names(who: str, query: str = "") -> list[str]:
        answer = house.as_(who, "GET", f"/api/v1/usage?{query}").json()
        assert answer["total"]["jobs"] == sum(item["jobs"] for item in answer["items"])
        return [item["name"] for item in answer["items"]]

    assert names("ann as viewer") == ["ann"]
    assert names("bob as user") == []
    assert names("bob as user", "owner=ann") == []
    assert names("bob as operator") == ["ann"]
    assert names("bob as operator", "owner=ann") == ["ann"]
    assert names("bob as operator", "owner=eve") == []


def test_usage_comes_in_pages_also_as_csv(world: World):
    for queue in ("c", "a", "b"):
        world.finished(world.submit(queue=queue))
    pages, url = [], "/api/v1/usage?by=queue&limit=2"
    first = world.http.get(url).json()
    pages.append([item["name"] for item in first["items"]])
    second = world.http.get(f"{url}&cursor={first['next_cursor']}").json()
    pages.append([item["name"] for item in second["items"]])
    assert (pages, second["next_cursor"]) == ([["a", "b"], ["c"]], None)
    assert first["total"] == second["total"]
    answer = world.http.get(f"{url}&format=csv")
    assert [(line["name"], line["jobs"]) for line in lines(answer)] == [("a", "1"), ("b", "1")]
    following = answer.links["next"]["url"]
    assert [line["name"] for line in lines(world.http.get(following))] == ["c"]
    assert "link" not in world.http.get(following).headers
    assert_problem(world.http.get("/api/v1/usage?cursor=x"), 422, "bad_cursor")


def test_usage_outlives_the_jobs(house: House):
    before = house.as_("ann as user", "GET", "/api/v1/usage").json()["items"]
    store = house.world.service.store
    assert store.prune(house.world.service.clock.now() + timedelta(days=1)) == 2
    assert house.as_("ann as user", "GET", "/api/v1/usage").json()["items"] == before


def history(world: World, **query: Any) -> dict[str, Any]:
    answer = world.http.get("/api/v1/usage/resources", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_history_of_resources_has_the_worst_of_each_step(world: World):
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for minute in range(6):
        for place in ("worker:local", "server:here"):
            readings = Readings(cpu_busy_percent=10.0 * minute, disk_free_bytes=1000.0 - minute)
            world.service.store.add_sample(
                place, Sample(begin + timedelta(minutes=minute), readings, minute // 4)
            )
    answer = history(world, step=180, **DAY)
    found = [(step["at"][11:16], step["place"], step["level"], step["samples"]) for step in answer["items"]]
    assert found == [
        ("00:00", "server:here", "normal", 3),
        ("00:00", "worker:local", "normal", 3),
        ("00:03", "server:here", "warn", 3),
        ("00:03", "worker:local", "warn", 3),
    ]
    assert answer["items"][0]["readings"] == {"cpu_busy_percent": 20.0, "disk_free_bytes": 998.0}
    seen, cursor = [], None
    while True:
        page = history(world, step=180, limit=1, place="worker:local", to="2026-01-01T00:09:00Z",
                       **{"from": "2026-01-01"}, **({"cursor": cursor} if cursor else {}))  # fmt: skip
        seen.append([step["at"][11:16] for step in page["items"]])
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [["00:00"], ["00:03"], []]
    answer_csv = world.http.get("/api/v1/usage/resources", params={"step": 180, "format": "csv", **DAY})
    assert [line["cpu_busy_percent"] for line in lines(answer_csv)] == ["20.0", "20.0", "50.0", "50.0"]
    assert history(world)["items"] == []
    for cursor in ("x", "cmVzb3VyY2VzOng"):
        assert_problem(world.http.get(f"/api/v1/usage/resources?cursor={cursor}"), 422, "bad_cursor")


def test_a_page_about_times_without_samples_asks_the_database_a_bounded_number_of_times(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    store, asked = world.service.store, 0
    read = store.samples
    store.add_sample(
        "worker:local", Sample(datetime(2026, 1, 1, tzinfo=UTC), Readings(cpu_busy_percent=1.0), 0)
    )

    def samples(*which: Any) -> Any:
        nonlocal asked
        asked += 1
        return read(*which)

    monkeypatch.setattr(world.service.usage, "_store", SimpleNamespace(samples=samples))
    query: dict[str, Any] = {"from": "2025-01-01", "to": "2026-01-02", "step": 86400, "limit": 1000}
    found, most, page = [], 0, history(world, **query)
    while True:
        found += page["items"]
        most, asked = max(most, asked), 0
        if page["next_cursor"] is None:
            break
        page = history(world, **query, cursor=page["next_cursor"])
    assert [step["at"] for step in found] == ["2026-01-01T00:00:00.000Z"]
    assert most < 2_100


def test_reports_are_kept_and_added_up(world: World):
    answer = world.http.post("/statistics", json=REPORT)
    assert (answer.status_code, answer.json()["replaced"]) == (201, False)
    again = world.http.post("/statistics", json={**REPORT, "usage": {"jobs": 5, "cpu_seconds": 1.5}})
    assert (again.status_code, again.json()["replaced"]) == (200, True)
    assert world.http.post("/statistics", json={**REPORT, "installation": "lab"}).status_code == 201
    found = world.http.get("/statistics/summary", params=DAY).json()
    assert (found["installations"], found["reports"], found["versions"]) == (2, 2, {"0.1.0": 2})
    assert (found["usage"]["jobs"], found["usage"]["cpu_seconds"]) == (8, 1.5)
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z")
    overlapping = {**REPORT, "from": "2026-01-01T12:00:00Z"}
    assert_problem(world.http.post("/statistics", json=overlapping), 409, "conflict")
    assert world.http.get("/statistics/summary?from=2027-01-01&to=2027-01-02").json()["reports"] == 0


def test_the_total_of_one_server_is_what_another_takes(house: House):
    total = house.as_("ann as user", "GET", "/api/v1/usage").json()["total"]
    answer = house.as_("ann as viewer", "POST", "/statistics", json={**REPORT, "usage": total})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"installation": "../etc"}, "installation"),
        ({"installation": "x" * 64}, "installation"),
        ({"version": ""}, "version"),
        ({"more": 1}, "more"),
        ({"from": "2026-01-02"}, "to"),
        ({"from": "2024-01-01"}, "to"),
        ({"to": "2999-01-01", "from": "2998-12-31"}, "to"),
        ({"usage": {"jobs": -1}}, "usage.jobs"),
        ({"usage": {"jobs": "1"}}, "usage.jobs"),
        ({"usage": {"jobs": 1e16}}, "usage.jobs"),
        ({"usage": {"jobs": 1, "failed": 2}}, "usage.jobs"),
        ({"usage": {}}, "usage.jobs"),
    ],
)
def test_reports_that_cannot_be_true_are_refused(world: World, changes: dict[str, Any], field: str):
    problem = assert_problem(world.http.post("/statistics", json={**REPORT, **changes}), 422, "invalid_input")
    assert problem["field"] == field
    assert world.http.get("/statistics/summary", params=DAY).json()["reports"] == 0


def test_long_reports_are_not_read(world: World):
    answer = world.http.post("/statistics", json={**REPORT, "more": "x" * 20_000})
    assert_problem(answer, 413, "too_large")


def test_each_owner_may_report_so_often(tmp_path: Path):
    with house_in(tmp_path / "data") as house:
        answers = [house.as_("ann as viewer", "POST", "/statistics", json=REPORT) for _ in range(REPORTS + 1)]
        assert [answer.status_code for answer in answers[:2]] == [201, 200]
        problem = assert_problem(answers[-1], 429, "rate_limited")
        assert 0 < problem["retry_after_s"] <= 60
        assert house.as_("bob as user", "POST", "/statistics", json=REPORT).status_code == 201
        summary = {who: house.as_(who, "GET", "/statistics/summary", params=DAY).json()["reports"]
                   for who in ("ann as user", "bob as viewer", "bob as operator")}  # fmt: skip
        assert summary == {"ann as user": 1, "bob as viewer": 1, "bob as operator": 2}
        only = house.as_("bob as operator", "GET", "/statistics/summary", params={**DAY, "owner": "ann"})
        assert only.json()["reports"] == 1
        others = house.as_("bob as user", "GET", "/statistics/summary", params={**DAY, "owner": "ann"})
        assert others.json()["reports"] == 0


def test_the_audit_trail_is_answered_for_a_time_and_as_csv(house: House):
    def rows(query: str) -> list[dict[str, str]]:
        return lines(house.as_("bob as operator", "GET", f"/api/v1/audit?format=csv&{query}"))

    submitted = rows("action=submit")
    assert [(row["actor"], row["action"]) for row in submitted] == 2 * [("ann", "submit")]
    assert submitted[0]["detail"] == '{"jobs": 1, "kind": "sql"}'
    assert rows("to=2026-01-01") == []
    assert rows("action=submit&from=2026-01-01") == submitted
    assert_problem(house.as_("bob as operator", "GET", "/api/v1/audit?from=x"), 422, "invalid_input")
    assert_problem(house.as_("ann as user", "GET", "/api/v1/audit?format=csv"), 403, "forbidden")
    first = house.as_("bob as operator", "GET", "/api/v1/audit?format=csv&action=submit&limit=1")
    following = house.as_("bob as operator", "GET", first.links["next"]["url"])
    assert lines(first) + lines(following) == submitted
    assert "next" not in following.links


def test_no_cell_is_a_formula(house: House):
    """What a request names comes from its sender."""
    refused = house.as_("ann as viewer", "DELETE", "/api/v1/keys/=cmd()")
    assert refused.status_code == 403
    answer = house.as_("bob as operator", "GET", "/api/v1/audit?format=csv&action=denied")
    (row,) = lines(answer)
    assert row["object"] == "DELETE /api/v1/keys/=cmd()"
    assert (
        csv_line(["=1+1", "-1", "+1", "@a", "\tb", -1, None, "a=1"]) == "'=1+1,'-1,'+1,'@a,'\tb,-1,,a=1\r\n"
    )
