"""Keys are made by the user that the server runs as, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.app.keys import local_keys
from tidegate.core.keys import make_key as make_text
from tidegate.errors import Conflict, SettingError
from tidegate.settings import load_settings

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


def first_key(folder: Path, file: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tidegate",
        "key",
        "first",
        "--file",
        str(file),
        "--data-dir",
        str(folder),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_servers_that_start_at_once_make_one_first_key_and_none_when_there_is_one(tmp_path):
    folder, file = tmp_path / "data", tmp_path / "first.key"
    starts = [first_key(folder, file) for _ in range(3)]
    assert [start.communicate(timeout=60)[1] for start in starts] == [""] * 3
    assert (file.stat().st_mode & 0o777, [path.name for path in tmp_path.glob(".first*")]) == (0o600, [])
    with local_keys(load_settings(data_dir=folder)) as keys:
        (only,) = keys.list()
        assert only["key_id"] in file.read_text()
        assert only["role"] == "admin"
        file.unlink()
        assert keys.first(file, "ann") is None
        assert not file.exists()


def test_a_key_that_somebody_has_put_in_the_file_becomes_the_first_one(tmp_path):
    file = tmp_path / "first.key"
    given = make_text("0123456789", "s" * 43)
    file.write_text(f"{given}\n")
    with local_keys(load_settings(data_dir=tmp_path / "data")) as keys:
        made = keys.first(file, "ann")
        assert made is not None
        assert (made["key_id"], made["owner"], "key" in made) == ("0123456789", "ann", False)
        keys.revoke("0123456789")
        with pytest.raises(Conflict, match="opens nothing any more"):
            keys.first(file, "ann")


def test_a_file_that_holds_no_key_is_refused_without_showing_it(tmp_path):
    file = tmp_path / "first.key"
    file.write_text("hunter2")
    with (
        local_keys(load_settings(data_dir=tmp_path / "data")) as keys,
        pytest.raises(SettingError, match="holds no API key") as refused,
    ):
        keys.first(file, "ann")
    assert "hunter2" not in str(refused.value)
