"""Functions the whole way: from Python, sync and async, by HTTP and from the shell."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tidegate
from tests.e2e.server import Running
from tests.environment import others_environment

MODULES = Path(__file__).with_name("modules")
PAGE = (Path(__file__).parents[2] / "docs" / "functions.md").read_text("utf-8")
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that may call the functions of two modules, and is told of one that is not there."""
    running = Running(
        tmp_path_factory.mktemp("functions"),
        function_modules=json.dumps(["tide_words", "tide_threads", "tide_missing"]),
        function_path=json.dumps([str(MODULES)]),
        log_file=str(tmp_path_factory.mktemp("log") / "server.log"),
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(calling: Running) -> Iterator[tidegate.Client]:
    with tidegate.connect(calling.url) as client:
        yield client


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(MODULES)
    return importlib.import_module("tide_words")


def environment(url: str, **more: str) -> dict[str, str]:
    kept = others_environment()
    return {**kept, "TIDEGATE_URL": url, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", **more}


def failed(job: tidegate.Job) -> tuple[str, str | None, str]:
    exit_ = job.wait(30, raise_on_failure=False).exit
    assert exit_ is not None, job.status
    return exit_["reason"], exit_["code"], exit_["message"]


def test_a_call_comes_back_with_its_value(client: tidegate.Client, words: Any):
    job = client.submit(words.add, 2, b=3)
    assert job.result().value == 5
    assert job.document["function"] == "tide_words:add"
    assert (job.request["cpus"], job.request["memory_bytes"]) == (0.5, 128 * 2**20)
    assert job.name == "tide_words:add"


def test_values_keep_their_types(client: tidegate.Client, words: Any):
    value = [b"\0\xff", datetime.now(UTC), Decimal("1.10"), {1, 2}, (1, "x"), {5: None}, 10**30, {"$type": 1}]
    assert client.submit(words.echo, value).result().value == value


def test_wishes_win_over_defaults(client: tidegate.Client, words: Any):
    job = client.submit(words.add.options(memory="256MiB", priority="high", job_name="sum"), 1)
    job.wait(30)
    assert (job.request["memory_bytes"], job.priority, job.name) == (256 * 2**20, "high", "sum")


def test_a_long_value_is_a_file(client: tidegate.Client, words: Any):
    result = client.submit(words.long_text, 100_000).result()
    assert result.document["value_file"] == "value.json"
    assert "value" not in result.document
    assert result.value == "x" * 100_000


def test_files_of_a_function_are_kept(client: tidegate.Client, words: Any, tmp_path: Path):
    job = client.submit(words.leave, "deep/file.txt").wait(30)
    assert [file["name"] for file in job.files()] == ["deep/file.txt"]
    assert job.download_file("deep/file.txt", tmp_path / "had").read_text() == "left"


def test_an_exception_is_told_with_its_type_and_traceback(client: tidegate.Client, words: Any):
    job = client.submit(words.fail, "no good")
    assert failed(job) == ("error", "exception", "ValueError: no good")
    assert "raise ValueError(text)" in job.logs()
    assert job.logs().rstrip().endswith("ValueError: no good")


def test_a_second_try_knows_that_it_is_one(client: tidegate.Client, words: Any):
    job = client.submit(words.fail_once)
    assert job.result().value == "at last"
    assert job.logs(attempt=2) == f"try 2 of {job.id}.1\n"
    assert job.logs(attempt=1).startswith(f"try 1 of {job.id}.1\n")


def test_an_asynchronous_function_is_awaited(client: tidegate.Client, words: Any):
    assert client.submit(words.asynchronous).result().value == "awaited"


def test_what_it_prints_is_its_log_alone(client: tidegate.Client, words: Any):
    job = client.submit(words.talk).wait(30)
    assert job.logs() == "printed\\udcff complained\n"
    assert job.result().value is None


def test_its_environment_has_no_secrets(client: tidegate.Client, words: Any):
    seen = client.submit(words.environment).result().value
    assert {name for name in seen if name.startswith("TIDEGATE_")} == {
        "TIDEGATE_FUNCTION_MODULES",
        "TIDEGATE_GENERATION",
        "TIDEGATE_INSTANCE",
    }
    assert "DATABASE_URL" not in seen


def test_who_runs_out_of_memory_is_tried_again_with_more(client: tidegate.Client, words: Any):
    job = client.submit(words.take.options(memory="96MiB", max_memory="1GiB"), 130)
    assert job.wait(30).status == "SUCCEEDED"
    assert (job.request["memory_bytes"], job.document["max_memory_bytes"]) == (96 * 2**20, 2**30)
    (task,) = job.tasks()
    first, second = task["attempts"]
    assert (first["exit"]["reason"], first["request"]["memory_bytes"]) == ("memory_limit", 96 * 2**20)
    assert second["request"]["memory_bytes"] >= 2 * 96 * 2**20
    assert second["state"] == "succeeded"
    assert "It is tried again with" in first["exit"]["message"]


def test_memory_is_held_to_what_it_asks_for(client: tidegate.Client, words: Any):
    assert failed(client.submit(words.eat))[:2] == ("memory_limit", "memory_limit")


def test_what_cannot_be_sent_back_is_told(client: tidegate.Client, words: Any):
    reason, code, message = failed(client.submit(words.unsendable))
    assert (reason, code) == ("error", "bad_value")
    assert "the result['deep'][0]" in message


def test_a_forged_result_leads_to_no_file_of_others(client: tidegate.Client, words: Any):
    job = client.submit(words.forge, "/etc").wait(30)
    assert (job.document["result"] or {}).get("path") is None
    assert (job.document["result"] or {}).get("source") is None
    with pytest.raises(tidegate.NotFound):
        list(job.files())


def test_a_module_with_threads_is_loaded_in_the_attempt(client: tidegate.Client, calling: Running):
    assert client.submit("function", function="tide_threads:threads").result().value == 2
    log = Path(str(calling.settings["log_file"])).read_text()
    assert "Functions of tide_words: add, asynchronous," in log
    assert "Loaded once, before attempts are forked." in log
    assert (
        "Functions of tide_threads: threads. Loaded in each attempt, since importing it starts 1 threads."
        in log
    )
    assert "The module tide_missing of `function_modules` cannot be loaded here" in log


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("os:system", "function_not_allowed"),
        ("tide_words:system", "unknown_function"),
        ("tide_words:hidden", "unknown_function"),
        ("tide_words:long_text", "unknown_function"),
        ("tide_words:__builtins__", "unknown_function"),
    ],
)
def test_nothing_else_can_be_called(client: tidegate.Client, key: str, code: str):
    with pytest.raises(tidegate.InvalidInput) as caught:
        client.submit("function", function=key)
    assert caught.value.code == code


def test_a_module_that_is_nowhere_fails_when_it_is_called(client: tidegate.Client):
    reason, code, message = failed(client.submit("function", function="tide_missing:f"))
    assert (reason, code) == ("error", "module_not_loaded")
    assert "No module named 'tide_missing'" in message


def test_many_calls_at_once(client: tidegate.Client, words: Any):
    jobs = client.submit_many([words.add.submission(n, b=n) for n in range(20)])
    assert [job.result().value for job in jobs if isinstance(job, tidegate.Job)] == [2 * n for n in range(20)]


def test_the_asynchronous_client_does_the_same(calling: Running, words: Any):
    async def main() -> list[Any]:
        async with tidegate.connect_async(calling.url) as client:
            short = await client.submit(words.add, 1)
            long = await client.submit(words.long_text, 50_000)
            return [await (await short.result()).value(), len(await (await long.result()).value())]

    assert asyncio.run(main()) == [2, 50_000]


def test_a_function_submits_itself(calling: Running, tmp_path: Path):
    program = "import tide_words; print(tide_words.add.submit(20, b=22).result().value)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment(calling.url, PYTHONPATH=str(MODULES)),
        cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("imported\n42\n", "")


def test_a_result_without_a_value_says_so(client: tidegate.Client):
    with pytest.raises(ValueError, match="called no function"):
        _ = client.sql("select 1 as one").result().value


def test_from_the_shell(calling: Running, tmp_path: Path):
    def tide(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "tidegate"), *arguments],
            env=environment(calling.url), cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip

    done = tide(
        "submit", "--function", "tide_words:add", "--args", "[1]", "--kwargs", '{"b": 5}', "--wait", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["result"]["value"] == 6
    assert "6" in tide("job", "show", document["job_id"]).stdout
    assert tide("submit", "--function", "os:system", "--args", '["true"]').returncode == 4
    assert tide("submit", "--function", "tide_words:fail", "--args", '["x"]', "--wait").returncode == 1


def test_the_examples_of_the_guide_work(tmp_path: Path):
    blocks = {
        language: re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        for language in ("python", "sh")
    }
    module, program = blocks["python"]
    (shell,) = blocks["sh"]
    (tmp_path / "words.py").write_text(module)
    server = Running(
        tmp_path / "data",
        function_modules='["words"]',
        function_path=json.dumps([str(tmp_path)]),
    )
    server.start()
    try:
        for command, said in (
            ([sys.executable, "-W", "error", "-c", program], "{'be': 2, 'to': 2}"),
            (["sh", "-e", "-c", shell], "try 1 of"),
        ):
            done = subprocess.run(
                command, env=environment(server.url, PYTHONPATH=str(tmp_path)), cwd=tmp_path,
                capture_output=True, text=True, timeout=50, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert said in done.stdout.replace("{'to': 2, 'be': 2}", "{'be': 2, 'to': 2}")
    finally:
        server.stop()
