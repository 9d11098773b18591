from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from tidegate.core.states import TaskState
from tidegate.errors import SettingError
from tidegate.telemetry import logs
from tidegate.telemetry.events import EVENTS
from tidegate.telemetry.logs import bound, configure_logging

log = logging.getLogger("tidegate.test")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    names = ("", "tidegate", "uvicorn", "uvicorn.error", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    for logger, handlers, level, propagate in before:
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was logged to standard error since the last call, each line read as JSON."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_that_says_when_where_and_what(lines: Lines) -> None:
    configure_logging()
    log.info("started %s with %d CPUs", "81.1.1", 2)
    (line,) = lines()
    assert line["message"] == "started 81.1.1 with 2 CPUs"
    assert (line["level"], line["logger"], line["module"]) == ("info", "tidegate.test", "test_logs")
    assert line["function"] == "test_a_line_is_one_json_object_that_says_when_where_and_what"
    assert line["line"] > 0
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_what_is_bound_is_on_every_line_inside_and_on_none_outside(lines: Lines) -> None:
    configure_logging()
    with bound(job_id="81", request_id="r1"):
        log.info("inside")
        with bound(task_id="81.2"):
            log.info("further inside")
    log.info("outside")
    inside, further, outside = lines()
    assert (inside["job_id"], inside["request_id"]) == ("81", "r1")
    assert (further["job_id"], further["task_id"]) == ("81", "81.2")
    assert not set(logs.BOUND) & set(outside)


def test_extra_fields_are_kept(lines: Lines) -> None:
    configure_logging()
    log.info("measured", extra={"peak_memory_bytes": 5, "path": Path("/data")})
    (line,) = lines()
    assert (line["peak_memory_bytes"], line["path"]) == (5, "/data")


def test_any_text_stays_on_one_line_and_comes_back_whole(lines: Lines) -> None:
    configure_logging()
    log.info('text\nwith a second line, "quotes" and ünïcödé')
    assert [line["message"] for line in lines()] == ['text\nwith a second line, "quotes" and ünïcödé']


def test_no_field_replaces_what_the_record_itself_knows(lines: Lines) -> None:
    configure_logging()
    with bound(message="other", level="none", timestamp="never"):
        log.info("true")
    (line,) = lines()
    assert (line["message"], line["level"]) == ("true", "info")
    assert line["timestamp"] != "never"


def test_an_exception_is_one_field(lines: Lines) -> None:
    configure_logging()
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("It broke.")
    (line,) = lines()
    assert line["message"] == "It broke."
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: boom")


@pytest.mark.parametrize(
    "key", ["authorization", "Authorization", "api_key", "X-API-Key", "password", "token"]
)
def test_values_of_secret_keys_are_masked(lines: Lines, key: str) -> None:
    configure_logging()
    log.info("request", extra={"headers": {key: "hush"}, key: "hush"})
    (line,) = lines()
    assert line["headers"] == {key: "***"}
    assert line[key] == "***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sent Authorization: Bearer abc.def-1", "sent Authorization: Bearer ***"),
        ("header 'authorization': 'abc'", "header 'authorization': '***'"),
        ("a bearer xyz came", "a bearer *** came"),
        ("GET /jobs?api_key=abc&limit=1", "GET /jobs?api_key=***&limit=1"),
        ("postgresql://tide:hush@db/x", "postgresql://tide:***@db/x"),
        (
            "nothing to hide: 3 tokens of 8, http://127.0.0.1:8420/",
            "nothing to hide: 3 tokens of 8, http://127.0.0.1:8420/",
        ),
    ],
)
def test_secrets_inside_messages_are_masked(lines: Lines, text: str, masked: str) -> None:
    configure_logging()
    log.info(text)
    assert lines()[0]["message"] == masked


def test_secrets_inside_exceptions_are_masked(lines: Lines) -> None:
    configure_logging()
    try:
        raise ConnectionError("no answer from redis://:hush@cache/0")
    except ConnectionError:
        log.exception("No cache.")
    assert lines()[0]["exception"].endswith("redis://:***@cache/0")


def test_the_level_holds_and_debug_costs_no_formatting(lines: Lines) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("formatted a line that is not shown")

    configure_logging("warning")
    log.debug("%s", Costly())
    log.info("%s", Costly())
    log.warning("shown")
    assert [line["message"] for line in lines()] == ["shown"]


def test_other_libraries_speak_from_warning_on(lines: Lines) -> None:
    configure_logging("debug")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    logging.getLogger("sqlalchemy.engine").warning("slow")
    log.debug("detail")
    assert [line["message"] for line in lines()] == ["slow", "detail"]


def test_the_http_server_speaks_through_the_same_log(lines: Lines) -> None:
    configure_logging("info")
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted"})
    logging.getLogger("uvicorn.access").info("GET / 200")
    (line,) = lines()
    assert line["logger"] == "uvicorn.error"
    assert "color_message" not in line
    configure_logging("debug")
    logging.getLogger("uvicorn.access").info("GET / 200")
    assert [line["logger"] for line in lines()] == ["uvicorn.access"]


def test_loggers_of_structlog_take_the_same_way(lines: Lines) -> None:
    configure_logging()
    structlog.get_logger("tidegate.other").info("bound %s", "here", job_id="7")
    (line,) = lines()
    assert (line["message"], line["logger"], line["job_id"]) == ("bound here", "tidegate.other", "7")


def test_warnings_of_python_are_logged(lines: Lines) -> None:
    configure_logging()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines()
    assert line["logger"] == "py.warnings"
    assert "old thing" in line["message"]


def test_people_get_short_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=False)
    with bound(job_id="81"):
        log.warning("The disk is full.")
    (line,) = capsys.readouterr().err.splitlines()
    clock, _, rest = line.partition(" ")
    assert len(clock.split(":")) == 3
    assert rest == "warning test: The disk is full.  job_id=81"


def test_people_see_exceptions_below_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=False)
    log.error("It broke.", exc_info=ValueError("boom"))
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith("error   test: It broke.")
    assert others[-1] == "ValueError: boom"


def test_the_file_gets_json_also_when_people_watch(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "tidegate.log"
    configure_logging(file=file, json=False)
    log.info("kept")
    assert json.loads(file.read_text())["message"] == "kept"


def test_the_file_is_rotated_and_five_old_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOG_FILE_BYTES", 1000)
    file = tmp_path / "tidegate.log"
    configure_logging(file=file)
    for number in range(100):
        log.info("line %d", number)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["tidegate.log", *(f"tidegate.log.{number}" for number in range(1, 6))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert json.loads(file.read_text().splitlines()[-1])["message"] == "line 99"


ODD_NAME = """
import logging, os, sys
from pathlib import Path
from tidegate.telemetry.logs import configure_logging
configure_logging(file=Path(sys.argv[1]), json=sys.argv[2] == "json", to="stdout")
logging.getLogger("tidegate.tests").warning("found %s", os.fsdecode(b"caf\\xe9.csv"))
"""


@pytest.mark.parametrize("style", ["json", "text"])
def test_names_of_files_that_are_not_utf_8_lose_no_line(tmp_path: Path, style: str) -> None:
    """In a process of its own: pytest cannot carry such a name from one of its processes to another."""
    command = [sys.executable, "-c", ODD_NAME, str(tmp_path / "log"), style]
    told = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONUTF8": "1"})
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert os.fsencode(json.loads(line)["message"]) == b"found caf\xe9.csv"
    assert b"caf\\udce9.csv" in told.stdout
    assert told.stderr == b""


def test_a_file_that_cannot_be_written_is_a_setting_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="Name another one by `log_file`"):
        configure_logging(file=tmp_path / "file" / "tidegate.log")


def test_a_broken_pipe_or_full_disk_loses_the_line_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Broken:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    file = tmp_path / "tidegate.log"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Broken())
        configure_logging(file=file)
        log.info("lost on one way, kept on the other")
    assert "kept on the other" in file.read_text()


def test_configuring_again_replaces_what_was_set(lines: Lines) -> None:
    configure_logging()
    configure_logging()
    log.info("once")
    assert len(lines()) == 1


def test_every_final_state_has_its_event() -> None:
    assert {state.value for state in TaskState if state.final} <= set(EVENTS)


def test_every_event_type_says_what_it_means() -> None:
    for name, event in EVENTS.items():
        assert name == name.lower()
        assert event.meaning.endswith(".")
        assert all(event.fields.values())


def test_what_prints_tracebacks_in_colour_is_not_loaded() -> None:
    code = "import sys, tidegate.telemetry.logs; print({*sys.modules} & {'rich', 'pygments', 'colorama'}); import rich"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"


def test_lines_go_to_standard_output_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(to="stdout")
    log.info("here")
    shown = capsys.readouterr()
    assert (json.loads(shown.out)["message"], shown.err) == ("here", "")


def test_what_is_bound_to_a_task_is_on_its_lines_alone(lines: Lines) -> None:
    configure_logging()

    async def request(name: str) -> None:
        logs.bind(request_id=name)
        await asyncio.sleep(0)
        log.info("asked")

    async def both() -> None:
        await asyncio.gather(request("one"), request("two"))
        log.info("neither")

    asyncio.run(both())
    assert [line.get("request_id") for line in lines()] == ["one", "two", None]
