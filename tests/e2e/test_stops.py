"""A server that is told to stop: once, twice, or before it has started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import Running, final, started, submit

SLOW = "select count(*) from range(100000) a(x), range(100000) b(y), range(1000) c(z) where x * y * z % 7 = 1"


def test_a_second_signal_ends_the_grace_and_the_job_runs_again(own_server: Running) -> None:
    own_server.start(grace_s=3600, log_file=str(own_server.data_dir) + ".log")
    log = Path(str(own_server.data_dir) + ".log")
    with own_server.client() as http:
        job_id = submit(http, SLOW)
        started(http, job_id)
    process = own_server.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    with log.open() as lines:
        while "Stopping" not in lines.readline():
            assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert own_server.stop() == 0
    assert not (own_server.data_dir / "server.json").exists()
    own_server.start(grace_s=0)
    with own_server.client() as http:
        started(http, job_id)
        http.post(f"/api/v1/jobs/{job_id}/cancel")
        assert final(http, job_id)["job_status"] == "CANCELLED"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_while_it_starts_leaves_nothing(tmp_path: Path, number: signal.Signals, status: int) -> None:
    script = (
        "import os, signal, sys; from tidegate.app.server import Server; from tidegate.ui.cli import main\n"
        "begin = Server._start_worker\n"
        f"Server._start_worker = lambda *a: (os.kill(os.getpid(), {int(number)}), begin(*a))[1]\n"
        "main()"
    )
    command = [sys.executable, "-c", script, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout) == (status, ""), told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "data" / "server.json").exists()
