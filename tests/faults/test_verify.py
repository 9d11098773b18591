"""A bounded number of runs of the fault suite; `tidegate verify` runs as many as are asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("database", "first", "count"), [("postgresql", 1001, 3), ("mariadb", 2001, 2)])
def test_a_cluster_that_is_hurt_keeps_its_promises(tmp_path, database, first, count):
    # In a process of its own, since it leaves this machine's network for good.
    runs = ["--seeds", str(count), "--first", str(first), "--database", database, "--keep", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "verify", "--json", *runs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\nkept in {tmp_path}"
    told = json.loads(done.stdout)
    assert told["violations"] == {}
    assert (told["seeds"], told["attempts"] > 0) == (count, True)
