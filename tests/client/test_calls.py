"""What is sent, how answers are read, and when a request is sent again: without a network."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tidegate.client import calls
from tidegate.client.call import Call, Reply
from tidegate.client.http import client_options, shown
from tidegate.client.local import data_dir_of, running_url, settings_environment
from tidegate.client.problems import error_from_reply
from tidegate.client.retry import PAUSES_S, Patience
from tidegate.client.shapes import Explanation, job_failed
from tidegate.client.throttle import Throttle
from tidegate.client.views import JobView
from tidegate.client.waiting import LEAST_GAP_S, MOST_BREAKS, POLL_S, Deadline, EventCursor
from tidegate.errors import (
    Busy,
    Conflict,
    InvalidInput,
    NeverFits,
    NotFound,
    ServerUnreachable,
    TidegateError,
    Unavailable,
)


def reply(document: object) -> Reply:
    return Reply(200, {}, json.dumps(document).encode())


def test_a_submission_leaves_out_what_was_not_given_and_has_a_key():
    call = calls.jobs.submit({"kind": "sql", "sql": "select 1", "memory": None}, "key-1")
    assert (call.method, call.path) == ("POST", "/api/v1/jobs")
    assert call.body == {"kind": "sql", "sql": "select 1"}
    assert call.headers["Idempotency-Key"] == "key-1"
    assert call.repeatable
    assert call.parse(reply({"job_id": "7", "job_status": "ACCEPTED"})) == {
        "kind": "sql",
        "job_id": "7",
        "job_status": "ACCEPTED",
    }


def test_names_in_paths_are_quoted():
    assert calls.sources.get("a/../b?c").path == "/api/v1/sources/a%2F..%2Fb%3Fc"
    assert calls.files.upload("ä b.csv", 3, None, False).path == "/api/v1/files/%C3%A4%20b.csv"


def test_checks_that_fail_are_an_answer_and_a_busy_server_is_an_error():
    for call in (calls.health.ready(), calls.health.workers()):
        assert 503 in call.also
        failing = {"status": "not_ready", "checks": {"disk": "It is full."}}
        assert call.parse(Reply(503, {}, json.dumps(failing).encode())) == failing
        with pytest.raises(Unavailable, match="away"):
            call.parse(Reply(503, {}, json.dumps({"status": 503, "detail": "The store is away."}).encode()))


def test_a_document_whose_status_is_a_word_is_read_by_the_status_of_its_answer():
    assert isinstance(error_from_reply(503, {}, b'{"status": "not_ready"}'), Unavailable)


def test_a_long_poll_waits_longer_for_its_answer_than_the_server_takes():
    call = calls.jobs.get("7", wait_s=20)
    assert call.params == {"wait_s": "20"}
    assert call.read_timeout_s > 20


def test_bulk_answers_are_jobs_or_errors_in_order():
    problem = {"status": 422, "code": "never_fits", "detail": "Too large.", "asked": 9, "limit": 4}
    answers = calls.jobs.submit_many([{"kind": "sql"}, {"kind": "sql"}]).parse(
        reply({"items": [{"job_id": "1"}, {"problem": problem}]})
    )
    assert answers[0] == {"job_id": "1"}
    assert isinstance(answers[1], NeverFits)
    assert answers[1].numbers == {"asked": 9, "limit": 4}


def test_an_answer_that_is_no_json_says_that_this_is_no_tidegate_server():
    with pytest.raises(TidegateError, match="Tidegate server"):
        calls.jobs.get("1").parse(Reply(200, {}, b"<html>"))
    with pytest.raises(TidegateError, match="Tidegate server"):
        calls.jobs.get("1").parse(Reply(200, {}, b"[]"))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", NotFound),
        (404, "no_result", NotFound),
        (409, "file_exists", Conflict),
        (422, "never_fits", NeverFits),
        (422, "unknown_column", InvalidInput),
        (413, "too_large", InvalidInput),
        (503, "unavailable", Unavailable),
        (500, "internal", TidegateError),
    ],
)
def test_problems_become_the_errors_they_speak_of(status, code, kind):
    problem = {"status": status, "code": code, "detail": "What it is.", "numbers": {"asked": 3}}
    error = error_from_reply(status, {}, json.dumps(problem).encode())
    assert type(error) is kind
    assert (error.code, str(error), error.numbers, error.problem) == (
        code,
        "What it is.",
        {"asked": 3},
        problem,
    )


def test_busy_knows_when_to_come_back():
    error = error_from_reply(429, {"retry-after": "7"}, b'{"detail": "Full.", "code": "busy"}')
    assert isinstance(error, Busy)
    assert error.retry_after_s == 7.0


def test_an_error_without_a_problem_document_is_still_an_error():
    error = error_from_reply(502, {}, b"<html>Bad gateway</html>")
    assert type(error) is TidegateError
    assert "502" in str(error)


def patience_with(call: Call[Any]) -> Patience[Any]:
    return Patience(call, Throttle(lambda: 0.0, lambda: 0.5))


def test_broken_connections_are_tried_three_times_only_where_that_is_safe():
    broken = ServerUnreachable("gone")
    patience = patience_with(calls.jobs.get("1"))
    assert [patience.pause_after(broken) for _ in range(3)] == [*PAUSES_S, None]
    assert patience_with(calls.sources.add("a", "b")).pause_after(broken) is None


def test_a_full_line_is_waited_for_within_its_budget():
    busy = Busy("full", retry_after_s=4.0)
    assert patience_with(calls.jobs.submit({}, "k")).pause_after(busy) is None
    patience = patience_with(calls.jobs.submit({}, "k", busy_timeout_s=10.0))
    assert [patience.pause_after(busy) for _ in range(3)] == [4.0, 4.0, None]


def test_a_wait_is_divided_and_ends_with_its_time():
    job = JobView({"job_id": "7", "job_status": "QUEUED"})
    deadline = Deadline(30.0, now=100.0)
    assert deadline.pause_s(100.0) == 0.0
    assert deadline.wait_s(100.0, job) == POLL_S
    assert deadline.pause_s(100.0) == pytest.approx(LEAST_GAP_S)
    assert deadline.wait_s(120.0, job) == 10.0
    with pytest.raises(TimeoutError, match="Job 7 has not ended within 30 s"):
        deadline.wait_s(130.0, job)


def test_a_wait_of_no_time_still_asks_once():
    job = JobView({"job_id": "7", "job_status": "QUEUED"})
    deadline = Deadline(0.0, now=100.0)
    assert deadline.wait_s(100.0, job) == 0.0
    with pytest.raises(TimeoutError):
        deadline.wait_s(100.0, job)


def sent(number: int, type: str = "started") -> httpx2.ServerSentEvent:
    return httpx2.ServerSentEvent(
        event=type, data=json.dumps({"id": number, "type": type, "message": "m"}), id=str(number)
    )


def test_events_come_once_over_broken_connections():
    cursor = EventCursor(after=3)
    assert cursor.take(sent(3)) is None
    event = cursor.take(sent(4))
    assert event is not None
    assert (event.id, event.type) == (4, "started")
    assert cursor.take(sent(4)) is None
    assert cursor.take(sent(0, "progress")) is not None
    assert cursor.after == 4


def test_a_stream_of_events_gives_up_after_breaks_without_news():
    cursor, error = EventCursor(), ServerUnreachable("gone")
    for _ in range(MOST_BREAKS - 1):
        assert cursor.broken(error) > 0
    cursor.take(sent(1))
    assert cursor.broken(error) > 0
    cursor.broken(error)
    with pytest.raises(ServerUnreachable):
        cursor.broken(error)


def test_events_end_only_when_the_job_had_ended_before_the_last_stream():
    cursor = EventCursor()
    running, ended = (JobView({"job_id": "1", "job_status": status}) for status in ("RUNNING", "FAILED"))
    assert [cursor.ended(job) for job in (running, ended, ended)] == [False, False, True]


def test_a_failure_is_told_with_its_numbers():
    document = {
        "job_id": "81",
        "job_status": "FAILED",
        "exit": {
            "reason": "memory_limit",
            "message": "",
            "limit": 2**28,
            "observed": 2**29,
            "enforced_by": "cgroup1",
        },
    }
    error = job_failed(document)
    assert "memory_limit" in str(error)
    assert "limit 256 MiB, observed 512 MiB, held by cgroup1" in str(error)
    assert (error.job_id, error.status, error.exit["limit"]) == ("81", "FAILED", 2**28)


def test_a_waiting_job_explains_itself_with_code_place_and_numbers():
    waiting = {
        "code": "queue_cap",
        "sentence": "Queue 'a' runs 3 of 3.",
        "numbers": {"running": 3},
        "position": 2,
    }
    why = Explanation.from_job({"job_id": "1", "job_status": "QUEUED", "waiting": waiting})
    assert (str(why), why.code, why.position, why.numbers) == (
        "Queue 'a' runs 3 of 3.",
        "queue_cap",
        2,
        {"running": 3},
    )


@pytest.mark.parametrize("url", ["", "localhost:8420", "ftp://host/", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidInput):
        client_options(url, None)


def test_the_key_goes_into_a_header_and_secrets_into_no_message():
    assert client_options("http://h", "s3cret")["headers"]["Authorization"] == "Bearer s3cret"
    assert shown("http://me:s3cret@host:1/x") == "http://host:1/x"


def test_loopback_is_reached_without_proxies():
    assert client_options("http://127.0.0.1:1", None)["trust_env"] is False
    assert client_options("https://example.com", None)["trust_env"] is True


def test_the_data_directory_is_found_as_a_server_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TIDEGATE_DATA_DIR", "NFS_SHARE_ROOT_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert data_dir_of().name == "tidegate"
    (tmp_path / "tidegate.toml").write_text('data_dir = "from_file"')
    assert data_dir_of() == tmp_path / "from_file"
    monkeypatch.setenv("TIDEGATE_DATA_DIR", str(tmp_path / "from_environment"))
    assert data_dir_of() == tmp_path / "from_environment"
    assert data_dir_of("given") == tmp_path / "given"


def test_settings_become_environment_variables_and_others_are_refused():
    given = {"memory": "2GiB", "cpus": 1.5, "source_roots": ["/a", "/b"], "host": None}
    assert settings_environment(given) == {
        "TIDEGATE_MEMORY": "2GiB",
        "TIDEGATE_CPUS": "1.5",
        "TIDEGATE_SOURCE_ROOTS": '["/a", "/b"]',
    }
    with pytest.raises(InvalidInput, match="memory"):
        settings_environment({"memory": object()})


@pytest.mark.parametrize("note", ["", "nonsense", "{}", '{"pid": "x", "url": "http://h"}', "[]"])
def test_a_broken_note_of_a_server_means_that_none_runs(tmp_path, note):
    (tmp_path / "server.json").write_text(note)
    assert running_url(tmp_path, lambda url: True) is None


def test_a_server_counts_as_running_only_when_it_answers(tmp_path):
    note = {"pid": 1, "url": "http://h:1"}
    (tmp_path / "server.json").write_text(json.dumps(note))
    assert running_url(tmp_path, lambda url: True) == "http://h:1"
    assert running_url(tmp_path, lambda url: False) is None
