"""The logs of a running server: whose lines are, and that nothing secret is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.e2e.server import Running

SECRETS = {
    "target": "swordfish-1a2b",
    "channel": "swordfish-3c4d-swordfish-3c4d",
    "header": "swordfish-5e6f",
    "wrong key": "tg_0123456789_swordfish7g8hswordfish7g8hswordfish7g8h",
    "url": "swordfish-9i0j",
    "function": "swordfish-1k2l",
}
MODULE = """
import logging
import tidegate

log = logging.getLogger("words")

@tidegate.function
def complain(password: str) -> str:
    log.warning("could not log in with password=%s", password)
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("it broke")
    log.info("not told: below warning")
    return "done"

@tidegate.function
def configured() -> str:
    logging.basicConfig(format="MINE %(message)s", level=logging.INFO, force=True)
    log.info("as I like it")
    return "done"
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "modules").mkdir()
    (folder / "modules" / "words.py").write_text(MODULE)
    running = Running(
        folder / "server",
        function_modules='["words"]',
        function_path=json.dumps([str(folder / "modules")]),
        log_file=str(folder / "tidegate.log"),
        log_level="debug",
        targets=json.dumps({"warehouse": f"postgresql://u:{SECRETS['target']}@127.0.0.1:1/x"}),
        alert_channels=json.dumps({"pager": f"https://:{SECRETS['channel']}@127.0.0.1:1/hook"}),
        anonymous_access="anyone-may-do-everything",
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def http(running: Running) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=running.url, timeout=60) as client:
        yield client


def log_of(running: Running) -> list[dict[str, Any]]:
    text = (running.data_dir.parent / "tidegate.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def ended(http: httpx2.Client, fields: dict[str, Any], **headers: str) -> str:
    answer = http.post("/api/v1/jobs", json=fields, headers=headers)
    assert answer.status_code == 202, answer.text
    job_id = str(answer.json()["job_id"])
    http.get(f"/api/v1/jobs/{job_id}", params={"wait_s": 60})
    return job_id


def test_a_failed_attempt_is_told_with_whose_it_is_and_by_which_request(
    running: Running, http: httpx2.Client
):
    job_id = ended(http, {"kind": "sql", "sql": "select nothing"}, **{"X-Request-Id": "find-me-81"})
    (line,) = (
        one for one in log_of(running) if one.get("job_id") == job_id and one["logger"] == "tidegate.worker"
    )
    assert line["message"].startswith(f"Attempt {job_id}.1.1 ended with error")
    assert (line["task_id"], line["user_id"], line["request_id"]) == (f"{job_id}.1", "local", "find-me-81")


def test_the_request_goes_on_into_the_sandbox(http: httpx2.Client):
    job_id = ended(
        http,
        {"kind": "function", "function": "words:complain", "args": [SECRETS["function"]]},
        **{"X-Request-Id": "find-me-82"},
    )
    lines = [
        json.loads(line)
        for line in http.get(f"/api/v1/jobs/{job_id}/logs").text.splitlines()
        if line[:1] == "{"
    ]
    warning, error = lines
    assert warning["message"] == "could not log in with password=***"
    assert (warning["level"], warning["logger"], warning["module"]) == ("warning", "words", "words")
    assert (warning["function"], warning["line"]) == ("complain", 9)
    for line in lines:
        assert (line["job_id"], line["task_id"]) == (job_id, f"{job_id}.1")
        assert (line["user_id"], line["request_id"]) == ("local", "find-me-82")
    assert error["exception"].endswith("ValueError: boom")


def test_a_function_that_configures_its_log_is_left_alone(http: httpx2.Client):
    job_id = ended(http, {"kind": "function", "function": "words:configured"})
    assert "MINE as I like it" in http.get(f"/api/v1/jobs/{job_id}/logs").text


def test_no_secret_is_in_any_log(running: Running, http: httpx2.Client):
    asked = {
        "Authorization": f"Bearer {SECRETS['wrong key']}",
        "Cookie": f"session={SECRETS['header']}",
        "X-Secret": SECRETS["header"],
    }
    for path in ("/api/v1/jobs", "/api/v1/nothing", "/metrics"):
        http.get(path, headers=asked)
    http.post("/api/v1/jobs", content=b"{", headers={**asked, "Content-Type": "application/json"})
    http.post(
        "/api/v1/keys", json={"owner": "ann", "role": "user"}, headers={"X-API-Key": SECRETS["wrong key"]}
    )
    source = running.data_dir / "files" / "t.csv"
    source.parent.mkdir(exist_ok=True)
    source.write_text("a\n1\n")
    url = f"postgresql://u:{SECRETS['url']}@127.0.0.1:1/x"
    for target in ({"url": url, "table": "t"}, {"name": "warehouse", "table": "t"}):
        answer = http.post("/api/v1/jobs", json={"kind": "ingest", "file": str(source), "target": target})
        assert SECRETS["url"] not in answer.text
        if answer.status_code == 202:
            http.get(f"/api/v1/jobs/{answer.json()['job_id']}", params={"wait_s": 60})
    ended(http, {"kind": "function", "function": "words:complain", "args": [SECRETS["function"]]})
    http.post("/api/v1/alerts/channels/pager/test")
    folder = running.data_dir.parent
    logs = [folder / "tidegate.log", *folder.rglob("*.log"), *running.data_dir.glob("logs/**/*")]
    texts = {path: path.read_text(errors="replace") for path in logs if path.is_file()}
    assert any("tidegate.access" in text for text in texts.values())
    found = [
        (name, path.name)
        for name, secret in SECRETS.items()
        for path, text in texts.items()
        if secret in text
    ]
    assert found == []
