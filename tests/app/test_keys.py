"""Keys are made by the user that the server runs as, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
POWERS = "-dac_override,-dac_read_search"
AS_OTHERS = ["setpriv", f"--bounding-set={POWERS}", f"--inh-caps={POWERS}"] if os.geteuid() == 0 else []
"""A superuser may write everything; without these powers it has to ask as others have."""


def make_key(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    create = ["key", "create", "--owner", "ann", "--role", "admin", "--data-dir", str(folder)]
    command = [*before, sys.executable, "-m", "tidegate", *create]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(bool(AS_OTHERS) and shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.parametrize("which", ["tidegate.db", "."])
def test_a_database_that_is_not_ours_to_write_is_named_with_its_owner(tmp_path, which):
    assert make_key(tmp_path).returncode == 0
    foreign = (tmp_path / which).resolve()
    if AS_OTHERS:
        os.chown(foreign, NOBODY, NOBODY)
    foreign.chmod(0o444 if foreign.is_file() else 0o555)
    done = make_key(tmp_path, *AS_OTHERS)
    foreign.chmod(0o755)
    assert done.returncode == 2
    assert f"{foreign} belongs to" in done.stderr
    assert "Run this as the user that the server runs as" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that others cannot write by mistake")
def test_root_makes_no_database_in_the_folder_of_another_user(tmp_path):
    os.chown(tmp_path, NOBODY, NOBODY)
    done = make_key(tmp_path)
    assert done.returncode == 2
    assert "sudo -u nobody" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can")
def test_root_may_add_a_key_to_a_database_that_is_there(tmp_path):
    """SQLite gives the files that it makes beside it to the owner of the database."""
    assert make_key(tmp_path).returncode == 0
    for place in (tmp_path, *tmp_path.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    assert make_key(tmp_path).returncode == 0
    assert {place.stat().st_uid for place in tmp_path.rglob("*")} == {NOBODY}
