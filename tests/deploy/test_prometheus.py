"""Rules and dashboard, judged by promtool and by a real Prometheus that scrapes a real cluster."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import yaml

from scripts import grafana_dashboard
from tests.cluster.conftest import SETTINGS
from tidegate.telemetry.catalogue import CATALOGUE
from tidegate.testing.cluster import Cluster, Services
from tidegate.testing.servers import PostgreSQL, Prometheus, Redis, free_port, program

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
CASES = ROOT / "deploy" / "prometheus" / "tests"
DEADLINE_S = 60.0


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules, by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*arguments: str | Path, given: str | None = None) -> str:
    """What it says. A program that is not there fails the test by the name of its package."""
    command = [program("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.servers
def test_the_rules_can_be_read():
    assert "SUCCESS" in promtool("check", "rules", RULES)


@pytest.mark.servers
def test_each_alert_fires_when_it_should_and_not_when_it_is_near():
    assert "SUCCESS" in promtool("test", "rules", *sorted(CASES.glob("*.yml")))
    cases = [case for file in CASES.glob("*.yml") for case in yaml.safe_load(file.read_text())["tests"]]
    tried = [
        (test["alertname"], bool(test["exp_alerts"])) for case in cases for test in case["alert_rule_test"]
    ]
    assert sorted(tried) == sorted((name, fires) for name in alerts() for fires in (True, False))


@pytest.mark.servers
def test_the_health_check_of_the_container_is_whether_prometheus_answers():
    check = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["prometheus"]["healthcheck"]
    assert (check["interval"], check["timeout"], check["retries"]) == ("30s", "10s", 3)
    kind, tool, *words = check["test"]
    assert (kind, tool) == ("CMD", "promtool")

    def ask(url: str) -> str:
        return promtool(*(word.replace("http://127.0.0.1:9090", url) for word in words))

    with Prometheus({}) as prometheus:
        ask(prometheus.url)
    with pytest.raises(AssertionError, match="refused"):
        ask(prometheus.url)


@pytest.mark.servers
@pytest.mark.parametrize("page", ["docs/deployment.md", "docs/zh/deployment.md"])
def test_workers_are_not_added_for_a_queue_that_is_paused(page: str, tmp_path: Path):
    (block,) = re.findall(
        r"^```yaml\n(externalRules:.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )
    (rule,) = yaml.safe_load(block)["externalRules"]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="here"')

    def series(name: str, queue: str, value: int) -> dict[str, str]:
        labels = f'namespace="here",pod="web-0",queue="{queue}"'
        return {"series": f"{name}{{{labels}}}", "values": f"{value}x5"}

    def case(waits: dict[str, int], paused: dict[str, int], value: int) -> dict[str, Any]:
        given = [series(rule["seriesQuery"], queue, wait_s) for queue, wait_s in waits.items()]
        given += [series("tidegate_queue_paused", queue, state) for queue, state in paused.items()]
        expected = {"expr": query, "eval_time": "4m", "exp_samples": [{"labels": "{}", "value": value}]}
        return {"interval": "1m", "input_series": given, "promql_expr_test": [expected]}

    cases = [
        case({"open": 70, "paused": 900}, {"open": 0, "paused": 1}, 70),
        case({"paused": 900}, {"open": 0, "paused": 1}, 0),
        case({}, {"open": 0}, 0),
    ]
    file = tmp_path / "cases.yml"
    file.write_text(json.dumps({"evaluation_interval": "1m", "tests": cases}))  # JSON is YAML
    assert "SUCCESS" in promtool("test", "rules", file)


def test_each_alert_says_how_bad_it_is_and_what_to_do():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("warning", "severe", "danger"), name
        assert rule["annotations"]["summary"].endswith("."), name
        assert rule["annotations"]["action"].endswith("."), name


def test_rules_and_dashboard_ask_for_metrics_that_there_are():
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    asked = {
        name
        for query in [*rules, *grafana_dashboard.queries()]
        for name in re.findall(r"\b(?:tidegate|sql_linting|process)_\w+", query)
    }
    known = set(CATALOGUE) | {f"{name}_bucket" for name, one in CATALOGUE.items() if one.buckets}
    assert asked <= known


def test_the_dashboard_is_the_one_that_is_written_from_its_panels():
    assert grafana_dashboard.FILE.read_text("utf-8") == grafana_dashboard.text(), (
        "run scripts/grafana_dashboard.py"
    )
    panels = json.loads(grafana_dashboard.text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)  # no panel lies on another
    assert max(x for x, _ in taken) < 24


class Watched(NamedTuple):
    """A cluster, and the Prometheus that scrapes it."""

    cluster: Cluster
    http: httpx2.Client
    metrics: str
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, redis: Redis, postgresql: PostgreSQL
) -> Iterator[Watched]:
    """One server and one worker, which share a port for metrics."""
    port = free_port()
    settings = {**SETTINGS, "metrics_port": port, "max_requests": 2, "result_cache": "1MiB"}
    with postgresql.database() as database:
        services = Services(database, redis.url, redis.url)
        folder = tmp_path_factory.mktemp("watched")
        cluster = Cluster(folder, services, settings, servers=1, workers=1, clocks=False)
        try:
            cluster.start()
            url = cluster.servers[0].url
            targets = {"tidegate": [f"127.0.0.1:{port}"]}
            with Prometheus(targets, [RULES]) as prometheus, httpx2.Client(base_url=url, timeout=60) as http:
                yield Watched(cluster, http, f"http://127.0.0.1:{port}/metrics", prometheus)
        finally:
            cluster.close()


def work(http: httpx2.Client) -> None:
    """Something of each kind that a panel shows: successes, a failure, a known result, refusals, an alert."""
    for number in range(3):
        end(http, {"kind": "sql", "sql": f"select {number}"})
    end(http, {"kind": "sql", "sql": "select nothing"})
    for _ in range(2):
        end(http, {"kind": "lint", "sql_content": "SELECT 1\n"})
    assert http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "memory": "900GiB"}).is_error
    assert http.patch("/api/v1/alerts/rules/queue_length", json={"warning": 0, "hold_s": 0}).is_success
    http.put("/api/v1/queues/held", json={"paused": True})
    http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1", "queue": "held"})


def end(http: httpx2.Client, fields: dict[str, Any]) -> None:
    answer = http.post("/api/v1/jobs", json=fields)
    assert answer.status_code == 202, answer.text
    http.get(f"/api/v1/jobs/{answer.json()['job_id']}", params={"wait_s": 60})


def until(look: Callable[[], object], what: object) -> None:
    """Look again and again: a Prometheus tells nobody that it has scraped."""
    pause, deadline_s = threading.Event(), time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline_s, f"waited in vain: {what}"
        pause.wait(0.2)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("cluster")
def test_every_query_of_the_dashboard_finds_something(watched: Watched):
    """In what was scraped from a server and a worker at work."""
    left = {
        query: query.replace("$job", ".+").replace("$__rate_interval", "1m")
        for query in grafana_dashboard.queries()
    }

    def look() -> bool:
        work(watched.http)
        for query, asked in list(left.items()):
            if watched.prometheus.query(asked):
                del left[query]
        return not left

    until(look, left)
    up = watched.prometheus.query("up")
    assert [(one["metric"]["job"], one["value"][1]) for one in up] == [("tidegate", "1")]
    roles = watched.prometheus.query("tidegate_build_info")
    assert {one["metric"]["role"] for one in roles} == {"server", "worker"}
    assert set(watched.prometheus.alerts()) == set(alerts())


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("cluster")
def test_live_pages_pass_the_check_of_promtool(watched: Watched):
    work(watched.http)
    for url in (watched.metrics, f"{watched.http.base_url}/metrics"):
        page = httpx2.get(url, timeout=30).text
        assert "tidegate_jobs_accepted_total" in page
        assert promtool("check", "metrics", given=page) == ""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.xdist_group("cluster")
def test_what_prometheus_adds_up_is_what_was_done(watched: Watched):
    """Each job is counted once, by whichever process had its end."""

    end(watched.http, {"kind": "sql", "sql": "select nothing"})
    for query in (
        'sum(sql_linting_jobs_total{status="failed"})',
        'sum(tidegate_jobs_total{status="failed"})',
        'sum(tidegate_attempts_total{reason="error"})',
    ):
        until(functools.partial(agrees, watched, query), query)


def agrees(watched: Watched, query: str) -> bool:
    """Whether what the query adds up to is the number of failed jobs."""
    failed = watched.http.get("/api/v1/jobs", params={"status": "FAILED", "limit": 200}).json()["items"]
    return [int(one["value"][1]) for one in watched.prometheus.query(query)] == [len(failed)]
