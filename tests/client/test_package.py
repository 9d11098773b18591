"""The public surface: small, sorted, and loading nothing that serves."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import tidegate

SERVING = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "duckdb", "pydantic", "structlog"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_public_names_are_few_sorted_and_there():
    assert len(tidegate.__all__) <= 27
    assert tidegate.__all__ == sorted(tidegate.__all__)
    for name in tidegate.__all__:
        assert getattr(tidegate, name) is not None
    assert set(tidegate.__all__) <= set(dir(tidegate))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(tidegate, "nonsense")


def test_importing_the_package_loads_no_other_package():
    modules = loaded_by("import tidegate")
    assert not modules & (SERVING | {"httpx2", "typer", "rich"})


def test_using_the_client_loads_no_server():
    modules = loaded_by("import tidegate; tidegate.connect, tidegate.connect_async")
    assert "httpx2" in modules
    assert not modules & SERVING
    assert not [
        name for name in modules if name.startswith(("tidegate.server", "tidegate.store", "tidegate.runtime"))
    ]


def test_using_the_executors_loads_no_server():
    modules = loaded_by("import tidegate; tidegate.ExecutorManager")
    assert not modules & (SERVING | {"httpx2", "typer", "rich", "prometheus_client"})
    assert not [
        name
        for name in modules
        if name.startswith(("tidegate.server", "tidegate.store", "tidegate.api", "tidegate.client"))
    ]


def test_commands_load_the_server_only_to_serve():
    modules = loaded_by("import tidegate.ui.cli.jobs, tidegate.ui.cli.sql")
    assert not modules & {"fastapi", "uvicorn", "sqlalchemy", "duckdb", "rich"}
    assert "httpx2" not in loaded_by("import tidegate.ui.cli, tidegate.ui.cli.about")


def test_the_version_stands_in_one_place():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert metadata.version("tidegate") == tidegate.__version__
