"""A data directory that cannot be used is refused in one sentence."""

from pathlib import Path

import pytest

from tidegate.app import Server
from tidegate.errors import SettingError
from tidegate.settings import Settings


def test_a_data_directory_that_cannot_be_locked_is_refused(tmp_path: Path) -> None:
    (
        tmp_path / "lock"
    ).mkdir()  # as on a file system that was mounted read-only: it cannot be opened for writing
    with pytest.raises(SettingError, match="cannot be used"):
        Server(Settings(data_dir=tmp_path)).start()
