"""The demo, as a newcomer runs it."""

from __future__ import annotations

import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import others_environment

PROGRAM = Path(__file__).parents[2] / "examples" / "flights.py"
LAST_OF_THE_SHOW = "A result is a source"


def environment(tmp_path: Path) -> dict[str, str]:
    """As if nothing of Tidegate were set. Other tests run meanwhile, and jobs that give way to them would hardly move."""
    clean = others_environment()
    return {**clean, "TMPDIR": str(tmp_path), "TIDEGATE_YIELD_CPU": "off"}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-u", str(PROGRAM), "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(tmp_path),
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("amount", "shown"), [(None, "?"), (400_000, "0.4 MiB"), (9 << 20, "9.0 MiB"), (3 << 30, "3,072 MiB")]
)
def test_a_small_peak_is_not_shown_as_nothing(amount: int | None, shown: str) -> None:
    assert runpy.run_path(str(PROGRAM))["megabytes"](amount) == shown


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What it prints up to the line that has the text."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"it ended without {text!r}:\n{read}")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_shows_what_it_promises_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert re.search(r"listening on http://127\.0\.0\.1:\d+", text)
    assert re.search(r"flights +336,776 rows, 19 columns", text)
    assert re.search(r"Why does 'many flights' wait\? Job \d+ \w+", text)
    assert re.search(r"JFK - Los Angeles Intl +11,262 ", text)
    assert "This job can never start: it asks for 1 TiB of memory" in text
    assert "(memory_limit)" in text
    assert LAST_OF_THE_SHOW in text
    peak, limit = (int(found) for found in re.findall(r"Peak memory (\d+) MiB of (\d+) MiB", text)[0])
    needed = int(re.findall(r"over ([\d,]+) MiB of rows", text)[0].replace(",", ""))
    assert peak <= limit
    assert needed > 4 * limit
    assert len(re.findall(r"^  /\S+\.parquet$", text, re.MULTILINE)) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_stops_the_server_and_leaves_nothing(
    demo: subprocess.Popen[str], tmp_path: Path, number: int, status: int
) -> None:
    read_until(demo, "many flights: running")
    demo.send_signal(number)
    rest, _ = demo.communicate(timeout=40)
    assert demo.returncode == status
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kept_running_it_prints_commands_that_work_and_ends_by_ctrl_c(
    demo: subprocess.Popen[str], tmp_path: Path
) -> None:
    shown = read_until(demo, "sources list")
    script = "\n".join(line for line in shown.partition("stays up")[2].splitlines()[1:])
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "ORD" in done.stdout
    assert "worst_first" in done.stdout
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=40)
    assert demo.returncode == 0
    assert list(tmp_path.iterdir()) == []
