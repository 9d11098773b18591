"""`tidegate top --once` and `--json`: a snapshot, and the real thing against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tidegate
from tests.ui.test_commands import run
from tests.ui.tui.pictures import busy_picture
from tidegate.errors import SettingError
from tidegate.ui.cli import top
from tidegate.ui.tui.cells import ASCII, UNICODE
from tidegate.ui.tui.plain import plain_lines

SNAPSHOT = Path(__file__).with_name("once.txt")


def test_the_text_is_that_of_the_snapshot():
    assert "\n".join(plain_lines(busy_picture(), UNICODE)) + "\n" == SNAPSHOT.read_text("utf-8")


def test_without_unicode_only_names_have_other_characters():
    lines = [line for line in plain_lines(busy_picture(), ASCII) if "雨" not in line]
    assert all(line.isascii() for line in lines)
    assert len(lines) > 20


def test_once_tells_what_a_real_server_does(client: tidegate.Client):
    client.queues.pause("default")
    job = client.sql("select 1", name="waits for its queue")
    try:
        done = run("top", "--once", url=client.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(rf"^Tidegate {tidegate.__version__}  {client.url}  local, admin  ", done.stdout)
        assert "committed 0 % CPU, 0 % memory" in done.stdout
        assert re.search(r"^  local +online +0 ", done.stdout, re.MULTILINE)
        assert re.search(r"^  default +paused +1 +0 ", done.stdout, re.MULTILINE)
        told = r"because queue 'default' is paused. Resume the queue to start it.$"
        assert re.search(rf"^ +{job.id} +waits for its queue .*{told}", done.stdout, re.MULTILINE)
        assert "no alerts, no failing checks" in done.stdout
    finally:
        client.queues.resume("default")
        job.wait(30)


def test_json_has_the_documents_of_the_api(client: tidegate.Client):
    done = run("top", "--json", url=client.url)
    picture = json.loads(done.stdout)
    assert (picture["url"], picture["version"]) == (client.url, tidegate.__version__)
    assert [worker["worker_id"] for worker in picture["workers"]] == ["local"]
    assert (picture["running"], picture["waiting"], picture["missing"]) == ([], [], {})
    assert set(picture["checks"].values()) == {None}
    assert picture["system"]["memory"]["total_bytes"] > 0
    assert picture["more"] == {"running": False, "waiting": False}


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_a_server_that_is_not_there_is_an_error_in_one_sentence(option: str):
    done = run("top", option, url="http://127.0.0.1:9")
    assert done.returncode == 6
    assert "No Tidegate server answers at http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_there_is_no_terminal_it_says_what_to_take(client: tidegate.Client):
    done = run("top", url=client.url)
    assert done.returncode == 2
    assert "Take --once or --json." in done.stderr


def test_textual_is_loaded_by_nothing_but_the_live_view():
    program = (
        "import sys; from tidegate.ui.cli import top; from tidegate.ui.cli.lazy import COMMANDS; "
        "print([name for name in ('textual', 'tidegate.ui.tui.live') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_textual_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith(("textual", "tidegate.ui.tui.live"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(SettingError, match=r"pip install 'tidegate\[tui\]'"):
        top._live()
