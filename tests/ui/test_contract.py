"""Names of commands, options and variables that scripts and container files are written against."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import pytest
import typer

from tidegate.settings import Settings, load_settings
from tidegate.ui.cli import app

ROOT = cast(click.Group, typer.main.get_command(app))
COMMANDS = {
    "serve": {"--host", "--port", "--data-dir"},
    "worker": {"--name"},
    "submit": {"--cpus", "--memory", "--disk", "--label", "--priority", "--queue", "--json"},
    "sql": {"--json"},
    "ingest": {"--json"},
    "lint": set(),
    "jobs": {"--json"},
    "job": {"show", "explain", "cancel", "logs", "result"},
    "sources": {"list", "add", "show", "delete"},
    "key": {"create", "list", "revoke"},
    "doctor": {"--json"},
    "verify": set(),
}
"""Commands and the options or commands below them."""
VARIABLES = {
    "DATABASE_URL": ("database_url", "postgresql://db/tidegate"),
    "CELERY_BROKER_URL": ("broker_url", "redis://broker/0"),
    "REDIS_URL": ("redis_url", "redis://cache/1"),
    "NFS_SHARE_ROOT_PATH": ("data_dir", "/mnt/shared"),
    "DB_POOL_SIZE": ("db_pool_size", "7"),
    "DB_MAX_OVERFLOW": ("db_max_overflow", "3"),
    "ENVIRONMENT": ("environment", "development"),
    "LOG_FILE": ("log_file", "/var/log/tidegate.log"),
    "TIDEGATE_ENABLE_COMMANDS": ("enable_commands", "1"),
}


@pytest.mark.parametrize(("name", "below"), COMMANDS.items())
def test_commands_keep_their_names(name: str, below: set[str]):
    command = ROOT.get_command(click.Context(ROOT), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert below <= options | set(getattr(command, "commands", ()))


@pytest.mark.parametrize(("variable", "setting", "value"), [(v, *rest) for v, rest in VARIABLES.items()])
def test_variables_keep_their_names(monkeypatch: pytest.MonkeyPatch, variable: str, setting: str, value: str):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TIDEGATE_{name.upper()}", raising=False)
    monkeypatch.setenv(variable, value)
    found = getattr(load_settings(), setting)
    assert found == type(found)(value) if not isinstance(found, bool) else found is True


def test_the_later_place_of_a_setting_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tidegate.toml").write_text('data_dir = "/toml"\nport = 1\nhost = "toml"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NFS_SHARE_ROOT_PATH", "/shared")
    monkeypatch.setenv("TIDEGATE_PORT", "2")
    settings = load_settings(port=3)
    assert (settings.host, settings.port, str(settings.data_dir)) == ("toml", 3, "/shared")
    monkeypatch.setenv("TIDEGATE_DATA_DIR", "/own")
    assert str(load_settings().data_dir) == "/own"
