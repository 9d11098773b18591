"""Examples of reference pages that no other test runs, typed into a shell or sent as they stand there."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.e2e.server import Running, final
from tests.e2e.test_guides import typed
from tests.pages import DOCS, console, fences, page
from tests.telemetry.collector import collecting
from tidegate.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
NOT_THERE = "|| test $? = 3"  # the exit code of a thing that the page names and this server does not have


def blocks(name: str, language: str, heading: str | None = None) -> list[str]:
    """Those of a page in one language, and below one heading where that is named."""
    found = [fence for fence in fences(DOCS / name) if fence.language == language]
    return [fence.text for fence in found if heading in (None, fence.heading)]


def test_the_commands_on_alerts_are_understood(tmp_path):
    rules, life = blocks("alerts.md", "", "The rules"), blocks("alerts.md", "", "An alert's life")
    commands = "".join(rules + life).splitlines()
    assert len(commands) == 8
    of_alert_7 = ("tidegate alerts show 7", "tidegate alerts ack 7")
    answers = typed(
        [
            "tidegate serve &",
            *(f"{line} {NOT_THERE}" if line.startswith(of_alert_7) else line for line in commands),
        ],
        tmp_path,
    )
    assert "queue_length" in answers[1]


def test_the_program_on_alerts_changes_a_rule(tmp_path):
    [program] = blocks("alerts.md", "python", "Over HTTP and from Python")
    (tmp_path / "rules.py").write_text(program)
    *_, told = typed(["tidegate serve &", "python -W error rules.py"], tmp_path)
    assert told.endswith(" rules\n")


def test_the_commands_on_keys_make_use_and_revoke_them(tmp_path):
    commands = [
        command.replace("/var/lib/tidegate", str(tmp_path / "data")).replace(
            "tide.example:8420", "127.0.0.1:8420"
        )
        for command, _ in console(page("security.md"))
    ]
    assert "revoke" in commands[-1]
    commands[-1] += f" {NOT_THERE}"
    answers = typed(["tidegate serve &", *commands], tmp_path)
    assert (tmp_path / "ann.key").read_text().startswith("tg_")
    assert "ann" in answers[-2]


def test_two_terminals_are_enough(tmp_path):
    [block] = blocks("cli.md", "sh")
    serve, sql = (line.partition("  #")[0].rstrip() for line in block.splitlines())
    assert typed([f"{serve} &", sql], tmp_path)[-1].split() == ["answer", "42"]


def test_the_request_for_a_command_is_taken(tmp_path):
    (_, _), (request, _) = console(page("commands.md"))
    answers = typed(["tidegate serve &", request, "tidegate job wait 1", "tidegate job logs 1"], tmp_path)
    assert answers[-1] == "--n 4\n"


def test_commands_are_off_until_they_are_turned_on_as_the_page_says(tmp_path):
    (serve, _), (_, _) = console(page("commands.md"))
    off = "unset TIDEGATE_ENABLE_COMMANDS"
    assert typed([off, f"{serve} &", "tidegate submit --follow -- echo on"], tmp_path)[-1] == "on\n"


def test_functions_are_registered_and_called_by_http_as_the_page_says(tmp_path):
    words = blocks("functions.md", "python", "Register")[0]
    (tmp_path / "words.py").write_text(words)
    (serve, _), (request, _) = console(page("functions.md"))
    serve = serve.replace("/srv/jobs", str(tmp_path))
    look = "curl -s 'localhost:8420/api/v1/jobs/1?wait_s=30'"
    job = json.loads(typed([f"{serve} &", request, look], tmp_path)[-1])
    assert job["result"]["value"] == {"to": 2, "be": 2}


def test_traces_reach_the_collector_that_is_named_as_the_page_says(tmp_path):
    [serve] = blocks("traces.md", "sh")
    with collecting() as collector:
        serve = serve.strip().replace("http://127.0.0.1:4318", collector.url)
        typed([f"{serve} &", "tidegate sql 'select 42 as answer'"], tmp_path)
    assert {about["service.name"] for _, about in collector.received} == {"tidegate-prod"}
    assert {"intake", "plan", "launch", "attempt"} <= {span.name for span, _ in collector.received}


@pytest.fixture
def bare(tmp_path: Path):
    server = Running(tmp_path / "data")
    server.start()
    yield server
    server.stop()


def test_the_body_of_a_query_is_a_job(bare, tmp_path):
    [body] = blocks("sql.md", "json")
    with bare.client() as http:
        csv = b"carrier,dep_delay\nUA,4\nUA,6\n"
        assert http.put("/api/v1/files/flights.csv", content=csv).status_code == 201
        job = http.post("/api/v1/jobs", json=json.loads(body)).json()
        assert final(http, job["job_id"])["job_status"] == "SUCCEEDED"
        assert http.get("/api/v1/sources/delays/preview").status_code == 200


def test_the_rules_on_pressure_are_taken(bare):
    [body] = blocks("overload.md", "json")
    with bare.client() as http:
        assert http.put("/api/v1/pressure/rules", json=json.loads(body)).status_code == 200


def test_files_of_settings_hold_settings():
    for name in ("alerts.md", "ingest.md"):
        [text] = blocks(name, "toml")
        Settings.model_validate(tomllib.loads(text))


def test_the_piece_of_prometheus_is_yaml_with_our_address():
    [text] = blocks("metrics.md", "yaml")
    [job] = yaml.safe_load(text)["scrape_configs"]
    assert job["static_configs"][0]["targets"][0].endswith(":8420")
