"""Commands the whole way: by HTTP, by the command line, by both clients."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

import tidegate
from tests.e2e.server import Running, final, until
from tests.environment import others_environment

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
BIN = Path(sys.executable).parent


@pytest.fixture
def http(commanding: Running) -> Any:
    with commanding.client() as client:
        yield client


def submitted(http: httpx2.Client, *argv: str, **fields: Any) -> str:
    answer = http.post("/api/v1/jobs", json={"kind": "command", "argv": list(argv), **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def environment(url: str) -> dict[str, str]:
    kept = others_environment()
    return {**kept, "TIDEGATE_URL": url, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}"}


def tide(
    server: Running, cwd: Path, *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "tidegate"), *arguments],
        cwd=cwd,
        env=environment(server.url),
        input=given,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_commands_are_refused_where_they_are_off(server: Running):
    with server.client() as http:
        answer = http.post("/api/v1/jobs", json={"kind": "command", "argv": ["true"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "commands_off")
    assert "TIDEGATE_ENABLE_COMMANDS=1" in answer.json()["detail"]


def test_output_is_live_and_files_can_be_had_after(http: httpx2.Client):
    script = (
        "echo first; while [ ! -e $TMPDIR/never ] && ! read line; do :; done; "
        "mkdir $TIDEGATE_OUTPUT_DIR/deep; printf 12345 > $TIDEGATE_OUTPUT_DIR/deep/file.bin; echo last"
    )
    job_id = submitted(http, "sh", "-c", script, stdin="go\n")
    with http.stream("GET", f"/api/v1/jobs/{job_id}/logs", params={"follow": True}) as answer:
        assert b"".join(answer.iter_raw()) == b"first\nlast\n"
    job = final(http, job_id)
    assert job["job_status"] == "SUCCEEDED"
    assert job["argv"] == ["sh", "-c", script]
    assert job["result"]["exit_code"] == 0
    assert job["result"]["files"] == [{"name": "deep/file.bin", "size_bytes": 5}]
    listed = http.get(f"/api/v1/jobs/{job_id}/files").json()
    assert [(file["name"], file["size_bytes"]) for file in listed["items"]] == [("deep/file.bin", 5)]
    file = http.get(listed["items"][0]["links"]["download"])
    assert file.content == b"12345"
    assert file.headers["content-disposition"] == 'attachment; filename="file.bin"'
    part = http.get(listed["items"][0]["links"]["download"], headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"23")
    result = http.get(f"/api/v1/jobs/{job_id}/result").json()
    assert http.get(result["links"]["files"]).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2ftidegate.db", "%2e%2e/x", "link", "no", "deep", "%2fetc%2fpasswd", "folder/passwd", "a%00b"],
)
def test_nothing_but_its_files_can_be_had(http: httpx2.Client, name: str):
    script = "cd $TIDEGATE_OUTPUT_DIR; mkdir deep; echo x > deep/x; ln -s /etc/passwd link; ln -s /etc folder"
    job_id = submitted(http, "sh", "-c", script)
    assert final(http, job_id)["job_status"] == "SUCCEEDED"
    answer = http.get(f"/api/v1/jobs/{job_id}/files/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_running_job_shows_the_most_memory_that_it_has_used_so_far(http: httpx2.Client):
    job_id = submitted(http, "sleep", "30")
    assert until(lambda: http.get(f"/api/v1/jobs/{job_id}").json()["usage"]["peak_memory_bytes"]) > 0
    http.post(f"/api/v1/jobs/{job_id}/cancel")
    final(http, job_id)


def test_a_job_without_files_has_an_empty_list(http: httpx2.Client):
    job_id = submitted(http, "true")
    final(http, job_id)
    assert http.get(f"/api/v1/jobs/{job_id}/files").json() == {"items": [], "next_cursor": None}


def test_a_failed_command_says_its_code_and_keeps_its_output(http: httpx2.Client):
    job_id = submitted(http, "sh", "-c", "echo why >&2; exit 7")
    exit_ = final(http, job_id)["exit"]
    assert (exit_["reason"], exit_["code"], exit_["observed"]) == ("error", "exit_code", 7)
    assert http.get(f"/api/v1/jobs/{job_id}/logs").text == "why\n"
    assert http.get(f"/api/v1/jobs/{job_id}/files").json()["code"] == "job_failed"


def test_what_is_long_or_secret_is_not_shown(http: httpx2.Client):
    job_id = submitted(http, "cat", env={"TOKEN": "s3cr3t"}, stdin="s3cr3t", files={"f": "s3cr3t"})
    final(http, job_id)
    assert "s3cr3t" not in http.get(f"/api/v1/jobs/{job_id}").text
    assert http.get(f"/api/v1/jobs/{job_id}/logs").text == "s3cr3t"


def test_files_go_with_the_job_when_its_commit_does_not_come(commanding: Running, http: httpx2.Client):
    script = "echo x > $TIDEGATE_OUTPUT_DIR/x; echo ready; sleep 30"
    job_id = submitted(http, "sh", "-c", script)
    with http.stream("GET", f"/api/v1/jobs/{job_id}/logs", params={"follow": True}) as answer:
        assert next(answer.iter_raw()) == b"ready\n"
    http.post(f"/api/v1/jobs/{job_id}/cancel")
    assert final(http, job_id)["job_status"] == "CANCELLED"
    assert not list((commanding.data_dir / "results").glob(f"output-{job_id}.*"))


# The command line


def script_in(folder: Path, text: str) -> None:
    path = folder / "simulate.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_program_is_sent_along_and_followed(commanding: Running, tmp_path: Path):
    script_in(tmp_path, 'echo "$*"; echo err >&2')
    arguments = (
        "--cpus",
        "0.5",
        "--memory",
        "128MiB",
        "--follow",
        "--",
        "./simulate.sh",
        "--n",
        "4",
        "--json",
    )
    done = tide(commanding, tmp_path, "submit", *arguments)
    assert (done.returncode, done.stdout) == (0, "--n 4 --json\nerr\n"), done.stderr
    assert "succeeded" in done.stderr


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -TERM $$; sleep 9", 143), ("exit 0", 0)])
@pytest.mark.parametrize("how", ["--wait", "--follow"])
def test_the_exit_code_is_that_of_the_command(
    commanding: Running, tmp_path: Path, script: str, code: int, how: str
):
    done = tide(commanding, tmp_path, "submit", how, "--", "sh", "-c", script)
    assert done.returncode == code, done.stderr


def test_json_has_the_job_and_the_exit_code_is_passed_on_too(commanding: Running, tmp_path: Path):
    done = tide(commanding, tmp_path, "submit", "--wait", "--json", "--", "sh", "-c", "exit 9")
    assert done.returncode == 9
    assert json.loads(done.stdout)["exit"]["observed"] == 9
    assert json.loads(done.stderr)["code"] == "job_failed"
    done = tide(commanding, tmp_path, "submit", "--json", "--", "true")
    assert done.returncode == 0
    assert json.loads(done.stdout)["job_id"]


def test_a_job_that_met_its_limit_ends_with_one(commanding: Running, tmp_path: Path):
    done = tide(commanding, tmp_path, "submit", "--wait", "--timeout", "0.3", "--", "sleep", "30")
    assert done.returncode == 1
    assert "0.3 s" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "--"),
        ("submit", "job.json", "--", "true"),
        ("submit", "--kind", "sql", "--", "true"),
        ("submit", "--function", "a:b", "--", "true"),
        ("submit", "--follow", "--json", "--", "true"),
        ("submit", "--env", "nonsense", "--", "true"),
        ("submit", "--send", "missing", "--", "true"),
        ("submit", "--stdin", "missing", "--", "true"),
        ("submit", "--function", "a:b", "--args", "{}"),
        ("submit", "--function", "a:b", "--kwargs", "nonsense"),
        ("job", "logs", "1", "--follow", "--json"),
    ],
)
def test_wrong_usage_is_told(commanding: Running, tmp_path: Path, arguments: tuple[str, ...]):
    done = tide(commanding, tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert "Usage" in done.stderr


def test_files_and_logs_from_the_shell(commanding: Running, tmp_path: Path):
    script = "echo said; echo kept > $TIDEGATE_OUTPUT_DIR/a.txt"
    job_id = tide(commanding, tmp_path, "submit", "--wait", "--", "sh", "-c", script).stdout.strip()
    assert tide(commanding, tmp_path, "job", "logs", "-f", job_id).stdout == "said\n"
    assert tide(commanding, tmp_path, "job", "files", job_id).stdout.split() == [
        "File",
        "Size",
        "a.txt",
        "5",
        "B",
    ]
    assert (
        json.loads(tide(commanding, tmp_path, "job", "files", job_id, "--json").stdout)[0]["name"] == "a.txt"
    )
    assert tide(commanding, tmp_path, "job", "files", job_id, "a.txt").returncode == 0
    assert (tmp_path / "a.txt").read_text() == "kept\n"
    assert tide(commanding, tmp_path, "job", "files", job_id, "../a.txt").returncode == 3
    shown = tide(commanding, tmp_path, "job", "show", job_id).stdout
    assert "exit code 0, 1 file, 5 B" in shown
    assert "sh -c" in shown


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_the_examples_of_the_guide_work(commanding: Running, tmp_path: Path, example: int):
    done = subprocess.run(
        ["sh", "-e", "-c", EXAMPLES[example]],
        cwd=tmp_path,
        env=environment(commanding.url),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = (("simulating with 0.5 CPUs: --n 4", "answer,5"), ("sum 6", "TO BE READ", "it ended with 3"))
    for line in expected[example]:
        assert line in done.stdout


# The clients


def test_both_clients_follow_list_and_download(commanding: Running, tmp_path: Path):
    argv = ["sh", "-c", "echo grün; echo x > $TIDEGATE_OUTPUT_DIR/x"]
    with tidegate.connect(commanding.url) as client:
        job = client.submit("command", argv=argv)
        assert "".join(job.follow_logs()) == "grün\n"
        job.wait(30)
        assert [file["name"] for file in job.files()] == ["x"]
        assert job.download_file("x", tmp_path / "one").read_text() == "x\n"
        assert job.result().exit_code == 0
        with pytest.raises(tidegate.InvalidInput) as caught:
            client.submit("command", argv=[])
        assert caught.value.code == "argv_missing"

    async def again() -> None:
        async with tidegate.connect_async(commanding.url) as client:
            job = await client.submit("command", argv=argv)
            assert "".join([text async for text in job.follow_logs()]) == "grün\n"
            assert [text async for text in job.follow_logs(tail=0)] == []
            await job.wait(30)
            assert [file["name"] async for file in job.files()] == ["x"]
            assert (await job.download_file("x", tmp_path / "two")).read_text() == "x\n"
            assert (await job.result()).exit_code == 0

    asyncio.run(again())
