"""The command line as a user has it: real processes against a real server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tidegate
from tests.client.live import SLOW_SQL
from tests.environment import others_environment
from tidegate.errors import (
    Busy,
    Conflict,
    InvalidInput,
    JobFailed,
    NeverFits,
    NotFound,
    ServerUnreachable,
    SettingError,
    TidegateError,
    Unavailable,
)
from tidegate.ui.cli.exits import exit_code_of, problem_of

TIDEGATE = (sys.executable, "-m", "tidegate")


def run(
    *arguments: str, url: str | None = None, given: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TIDEGATE, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=50,
        env=env_of(url, **environment),
        check=False,
    )


def env_of(url: str | None, **more: str) -> dict[str, str]:
    kept = others_environment()
    return {**kept, **({"TIDEGATE_URL": url} if url else {}), **more}


@pytest.fixture
def tide(client):
    """Runs a command against the live server and expects success."""

    def call(*arguments: str, given: str | None = None, code: int = 0) -> str:
        done = run(*arguments, url=client.url, given=given)
        assert done.returncode == code, done.stderr
        return done.stdout

    return call


def test_rows_go_to_output_and_the_story_to_errors(client):
    done = run(
        "sql",
        "select city, people from cities order by people",
        "--result-name",
        "sorted_cities",
        url=client.url,
    )
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["city", "people"],
        ["Oslo", "700000"],
        ["Rome", "2800000"],
        ["Berlin", "3700000"],
    ]
    assert "succeeded" in done.stderr
    assert "3 rows × 2 columns" in done.stderr
    assert "sorted_cities" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("csv", "a,d\n1,2024-01-31\n"),
        ("jsonl", '{"a": 1, "d": "2024-01-31"}\n'),
        ("json", '[{"a": 1, "d": "2024-01-31"}]\n'),
        ("table", "a  d\n1  2024-01-31\n"),
    ],
)
def test_rows_come_in_the_format_asked_for(tide, format, expected):
    assert tide("sql", "select 1 as a, date '2024-01-31' as d", "--format", format) == expected


def test_a_table_shows_the_first_rows_and_says_so(client):
    done = run("sql", "select i from range(50) r(i)", "--limit", "2", url=client.url)
    assert len(done.stdout.splitlines()) == 3
    assert "The first 2 of 50 rows" in done.stderr


def test_json_is_one_document_and_nothing_else(client):
    done = run("sql", "select 7 as n", "--json", url=client.url)
    document = json.loads(done.stdout)
    assert (document["job_status"], document["rows"]) == ("SUCCEEDED", [{"n": 7}])
    assert done.stderr == ""


def test_a_query_comes_from_a_file_or_from_input(tide, tmp_path):
    file = tmp_path / "query.sql"
    file.write_text("select 8 as n")
    assert tide("sql", "-f", str(file), "--format", "csv") == "n\n8\n"
    assert tide("sql", "-", "--format", "csv", given="select 9 as n") == "n\n9\n"
    tide("sql", "select 1", "-f", str(file), code=2)
    tide("sql", code=2)


def test_data_cannot_command_a_terminal(tide):
    shown = tide("sql", "select chr(27) || '[2J' || chr(10) as evil")
    assert "\x1b" not in shown
    assert "\\x1b[2J⏎" in shown


def test_a_job_is_submitted_and_looked_at(tide):
    job_id = tide("sql", "select 3 as n", "--name", "three", "--priority", "low", "--no-wait").strip()
    assert "succeeded" in tide("job", "wait", job_id)
    shown = tide("job", "show", job_id)
    assert "three" in shown
    assert "peak memory" in shown
    assert tide("job", "explain", job_id) == f"Job {job_id} succeeded.\n"
    assert tide("job", "result", job_id, "--format", "csv") == "n\n3\n"
    assert tide("job", "logs", job_id) == ""
    assert [line.split()[1] for line in tide("job", "events", job_id).splitlines()] == [
        "accepted",
        "started",
        "succeeded",
    ]
    events = [json.loads(line) for line in tide("job", "events", job_id, "--json").splitlines()]
    assert [event["type"] for event in events] == ["accepted", "started", "succeeded"]
    assert "had ended before" in tide("job", "cancel", job_id)
    listed = json.loads(tide("jobs", "--json", "--status", "succeeded", "--limit", "1"))
    assert [job["job_id"] for job in listed] == [job_id]
    assert "three" in tide("jobs")


def test_a_result_is_written_to_a_file(tide, tmp_path):
    job_id = tide("sql", "select 3 as n", "--no-wait").strip()
    file = tmp_path / "three.parquet"
    tide("job", "result", job_id, "-o", str(file))
    assert file.read_bytes()[:4] == b"PAR1"
    tide("job", "result", job_id, "--format", "parquet", code=2)


def test_jobs_are_submitted_as_json(tide, tmp_path):
    file = tmp_path / "job.json"
    file.write_text('{"kind": "sql", "sql": "select 1"}')
    document = json.loads(tide("submit", str(file), "--name", "named", "--wait", "--json"))
    assert (document["job_status"], document["name"]) == ("SUCCEEDED", "named")
    job_id = tide("submit", "--kind", "sql", "--field", "sql=select 2 as n", "--wait").strip()
    assert tide("job", "result", job_id, "--format", "csv") == "n\n2\n"
    many = [{"kind": "sql", "sql": "select 1"}, {"kind": "nonsense"}]
    answers = json.loads(tide("submit", "-", "--json", given=json.dumps(many), code=4))
    assert "job_id" in answers[0]
    assert answers[1]["problem"]["code"]
    tide("submit", "-", given="nonsense", code=2)
    tide("submit", "--field", "nonsense", code=2)
    tide("submit", code=2)


def test_sources_are_managed(tide, tmp_path):
    file = tmp_path / "letters.csv"
    file.write_text("letter,number\na,1\nb,2\n")
    assert "2 columns" in tide("sources", "upload", str(file), "--name", "alphabet")
    assert "alphabet" in tide("sources", "list")
    assert "letter" in tide("sources", "show", "alphabet")
    assert tide("sources", "preview", "alphabet", "--format", "csv", "--limit", "1") == "letter,number\na,1\n"
    tide("sources", "download", "alphabet", str(tmp_path / "copy.jsonl"))
    assert json.loads((tmp_path / "copy.jsonl").read_text().splitlines()[1]) == {"letter": "b", "number": 2}
    assert json.loads(tide("sources", "delete", "alphabet", "--json")) == {"deleted": "alphabet"}
    tide("sources", "show", "alphabet", code=3)


def test_queues_are_managed(tide):
    assert "paused" in tide("queues", "pause", "default")
    assert json.loads(tide("queues", "list", "--json"))[0]["paused"] is True
    assert "open" in tide("queues", "resume", "default")
    assert "at most 4 at once" in tide("queues", "set", "default", "--max-concurrent", "4")
    assert "at most 3 at once" in tide("queues", "set", "default", "--max-concurrent", "3")
    tide("queues", "set", "default", code=2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("sql", "select nope"), 1),
        (("job", "wait", "1", "--nope"), 2),
        (("nonsense",), 2),
        (("job", "show", "999999"), 3),
        (("sql", "select 1", "--memory", "900TiB"), 4),
        (("sql", "select 1", "--priority", "urgent"), 4),
    ],
)
def test_exit_codes_and_errors_of_one_sentence(client, arguments, code):
    done = run(*arguments, url=client.url)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    if code not in (0, 2):
        assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1


def test_an_error_in_json_is_the_problem_object(client):
    done = run("job", "show", "999999", "--json", url=client.url)
    problem = json.loads(done.stderr)
    assert (done.returncode, problem["code"], problem["status"]) == (3, "not_found", 404)
    lost = run("jobs", "--json", url="http://127.0.0.1:9")
    made_here = json.loads(lost.stderr)
    assert (lost.returncode, made_here["code"], made_here["status"]) == (6, "server_unreachable", 503)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (TidegateError("x"), 1, 500), (TidegateError("late", code="timeout"), 1, 504),
        (JobFailed("x", job_id="1", status="FAILED"), 1, 409), (SettingError("x"), 2, 422), (NotFound("x"), 3, 404),
        (InvalidInput("x"), 4, 422), (Conflict("x"), 4, 409), (NeverFits("x"), 4, 422),
        (Busy("x", retry_after_s=1), 5, 429), (Unavailable("x"), 5, 503), (ServerUnreachable("x"), 6, 503),
    ],
)  # fmt: skip
def test_errors_made_here_have_exit_code_and_status_of_their_kind(error, code, status):
    assert (exit_code_of(error), problem_of(error)["status"]) == (code, status)


def test_a_port_in_use_has_the_code_of_what_is_busy(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, "--data-dir", str(tmp_path))
    assert done.returncode == 5
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr


def test_what_a_waiting_job_s_start_was_reckoned_from_is_told_in_json(tide):
    tide("sql", "select 1", "--queue", "slow")
    tide("queues", "pause", "slow")
    job_id = tide("sql", "select 1", "--queue", "slow", "--no-wait").strip()
    while "not_judged" in tide("job", "show", job_id, "--json"):
        pass  # each look is a request; the scheduler needs a moment
    told = json.loads(tide("job", "explain", job_id, "--json"))
    shown = json.loads(tide("job", "show", job_id, "--json"))
    assert told["expected_start_basis"] == shown["waiting"]["expected_start_basis"]
    assert told["expected_start_basis"]
    assert told["expected_start_basis"] in tide("job", "explain", job_id)
    tide("job", "cancel", job_id)
    tide("queues", "resume", "slow")


def test_without_a_server_commands_say_how_to_get_one(tmp_path):
    done = run("jobs", "--data-dir", str(tmp_path))
    assert done.returncode == 6
    assert "tidegate serve" in done.stderr


def test_a_job_that_has_not_ended_in_time_has_its_own_code(client):
    job = client.sql(SLOW_SQL)
    try:
        assert run("job", "wait", job.id, "--timeout", "0", url=client.url).returncode == 124
    finally:
        job.cancel()


def test_a_key_is_in_no_message():
    done = run("jobs", url="http://me:s3cret@127.0.0.1:9", TIDEGATE_API_KEY="k3y")
    assert done.returncode == 6
    assert "s3cret" not in done.stderr
    assert "k3y" not in done.stderr


def test_ctrl_c_cancels_the_job(client):
    child = subprocess.Popen(
        [*TIDEGATE, "sql", SLOW_SQL],
        env=env_of(client.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stderr is not None
        line = child.stderr.readline()
        while "runs" not in line:
            line = child.stderr.readline()
        child.send_signal(signal.SIGINT)
        story = child.stderr.read()
    assert child.returncode == 130
    assert "cancelled" in story
    assert "Traceback" not in story
    assert client.job(line.split()[1]).status == "CANCELLED"


@pytest.mark.parametrize("module", ["typer", "tidegate.ui.cli.lazy", "tidegate.ui.cli.sql", "httpx2"])
def test_ctrl_c_while_a_command_is_loaded_ends_it_quietly(module, tmp_path):
    script = f"""
import os, runpy, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
sys.argv = ["tidegate", "sql", "select 1", "--data-dir", {str(tmp_path)!r}]
runpy.run_module("tidegate", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env_of(None), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nInterrupted.\n")


def test_a_reader_that_goes_away_is_no_error(client):
    child = subprocess.Popen(
        [*TIDEGATE, "sql", "select i from range(200000) r(i)", "--format", "csv"],
        env=env_of(client.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "i\n"
        child.stdout.close()
        story = child.stderr.read()
    assert child.returncode == 141
    assert "Traceback" not in story
    assert "BrokenPipe" not in story


def test_sql_starts_a_server_of_its_own_and_ends_it(tmp_path):
    data = tmp_path / "data"
    file = tmp_path / "few.csv"
    file.write_text("n\n1\n2\n")
    command = (
        "sql",
        "select sum(n) as s from few",
        "--source",
        f"few={file}",
        "--format",
        "csv",
        "--data-dir",
        str(data),
    )
    for _ in range(2):
        done = run(*command, TIDEGATE_YIELD_CPU="off")
        assert (done.returncode, done.stdout) == (0, "s\n3\n"), done.stderr
    assert not (data / "server.json").exists()


def test_serve_prints_its_address_first_and_logs_json_to_errors(tmp_path):
    command = [*TIDEGATE, "serve", "--port", "0", "--data-dir", str(tmp_path), "--die-with-parent"]
    child = subprocess.Popen(
        command,
        env=env_of(None),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        line = child.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        with tidegate.connect(url) as client:
            assert list(client.jobs()) == []
        again = run("serve", "--port", "0", "--data-dir", str(tmp_path))
        rest, logged = child.communicate()
    assert (child.returncode, rest) == (0, "")
    for record in logged.splitlines():
        assert json.loads(record)["level"]
    assert again.returncode == 5
    assert "in use" in again.stderr


def test_a_bad_setting_is_wrong_usage(tmp_path):
    done = run("serve", "--port", "99999", "--data-dir", str(tmp_path))
    assert done.returncode == 2
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_tells_where_each_number_comes_from(tmp_path):
    findings = json.loads(run("doctor", "--json", "--data-dir", str(tmp_path)).stdout)
    shown = run("doctor", "--data-dir", str(tmp_path)).stdout
    assert findings["capacity"]["memory_bytes"]["source"] in shown
    for rung in findings["limits"]["rungs"]:
        assert rung["rung"] in shown
        assert rung["reason"] in shown
    assert Path(findings["data_dir"]["path"]) == tmp_path


def test_the_version_is_printed(tide):
    assert tide("version") == f"tidegate {tidegate.__version__}\n"
    assert tide("--version") == f"tidegate {tidegate.__version__}\n"
    assert json.loads(tide("version", "--json"))["tidegate"] == tidegate.__version__
