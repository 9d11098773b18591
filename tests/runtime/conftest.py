from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, groups_of, rungs_to_try
from tidegate.errors import SettingError
from tidegate.runtime.processes import marked_processes


def _open(rung: str, folder: Path) -> Lab:
    try:
        return Lab(f"test{secrets.token_hex(4)}", folder, rung)
    except SettingError as error:
        pytest.skip(str(error))


def _close(lab: Lab) -> None:
    lab.close()
    assert marked_processes(lab.instance) == {}
    assert groups_of(lab.instance) == []


@pytest.fixture(scope="module", params=rungs_to_try())
def shared_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = _open(request.param, tmp_path_factory.mktemp("attempts"))
    yield lab
    _close(lab)


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """Sandboxes on each rung that works here, shared by a module. Checks that the test has left nothing running."""
    yield shared_lab
    assert shared_lab.strays() == []


@pytest.fixture(params=rungs_to_try())
def own_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Sandboxes for one test, which may break them. Nothing is left after they are closed."""
    lab = _open(request.param, tmp_path)
    yield lab
    _close(lab)


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    """A file that no sandbox has been given, readable for everyone."""
    path = tmp_path / "other" / "secret.txt"
    path.parent.mkdir()
    path.write_text("secret")
    os.chmod(path, 0o644)
    return path
