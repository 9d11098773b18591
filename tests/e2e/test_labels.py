"""A worker has labels, and a job that asks for labels runs only where they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.api.support import assert_problem
from tests.e2e.server import Running, final
from tests.environment import others_environment


def tide(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = others_environment()
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_job_runs_where_its_labels_are_and_is_refused_where_nobody_has_them(own_server: Running):
    own_server.start(labels=json.dumps({"disk": "ssd", "zone": "a"}))
    with own_server.client() as http:
        (worker,) = http.get("/api/v1/workers").json()["items"]
        assert worker["labels"] == {"disk": "ssd", "zone": "a"}
        submitted = tide(
            "submit",
            "--kind",
            "sql",
            "--field",
            "sql=select 1",
            "--label",
            "disk=ssd",
            TIDEGATE_URL=own_server.url,
        )
        job = final(http, submitted.stdout.strip())
        assert (job["job_status"], job["request"]["labels"]) == ("SUCCEEDED", {"disk": "ssd"})
        body = {"kind": "sql", "sql": "select 1", "labels": {"disk": "tape"}}
        assert (
            "disk=tape" in assert_problem(http.post("/api/v1/jobs", json=body), 422, "never_fits")["detail"]
        )
        assert "disk=ssd zone=a" in tide("worker", "list", TIDEGATE_URL=own_server.url).stdout


def test_labels_of_a_worker_are_judged_at_its_start(tmp_path: Path):
    where = ("--port", "0", "--data-dir", str(tmp_path))
    assert "is not NAME=VALUE" in tide("serve", *where, "--label", "ssd", code=2).stderr
    assert "names and values are 1 to 63" in tide("serve", *where, "--label", "disk=a b", code=2).stderr
