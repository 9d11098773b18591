"""What an attempt hands over: what its report names, whole, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tidegate.runtime.hand_over import hand_over
from tidegate.runtime.task_file import FILE_NAME


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_the_report_names_is_copied_and_nothing_else(staging: Path, target: Path):
    made = {"rows.parquet": b"PAR1", "bad.parquet": b"PAR2", "output/deep/x": b"kept", FILE_NAME: b"{}\n"}
    for name, content in {**made, "spilled.tmp": b"not kept"}.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    hand_over(
        str(staging),
        str(target),
        {"file": "rows.parquet", "bad_rows_file": "bad.parquet", "folder": "output"},
    )
    assert contents(target) == made


@pytest.mark.parametrize("named", ["../outside", "..", "", "missing", None, 7])
def test_what_is_no_plain_name_is_left_for_the_worker_to_refuse(staging: Path, target: Path, named: object):
    (staging.parent / "outside").write_text("secret")
    hand_over(str(staging), str(target), {"file": named})
    assert contents(target) == {}


@pytest.mark.parametrize("inside", [False, True])
def test_links_are_not_followed(staging: Path, target: Path, inside: bool):
    (staging.parent / "outside").write_text("secret")
    link = staging / "output" / "x" if inside else staging / "output"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(staging.parent / "outside")
    with pytest.raises(OSError, match="symbolic links") as raised:
        hand_over(str(staging), str(target), {"folder": "output"})
    assert raised.value.errno == errno.ELOOP
    assert contents(target) == {}


def test_a_pipe_is_not_waited_for(staging: Path, target: Path):
    os.mkfifo(staging / "file")
    with pytest.raises(OSError, match="Invalid argument"):
        hand_over(str(staging), str(target), {"file": "file"})
