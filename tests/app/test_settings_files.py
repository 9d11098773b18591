"""URLs that may hold a password come from files as well."""

from __future__ import annotations

import pytest

from tidegate.errors import SettingError
from tidegate.settings import load_settings

URL = "postgresql://u:secret@host/x"


@pytest.mark.parametrize("variable", ["DATABASE_URL_FILE", "TIDEGATE_DATABASE_URL_FILE"])
def test_a_url_is_read_from_the_file_that_a_variable_names(variable, tmp_path, monkeypatch):
    (tmp_path / "url").write_text(URL + "\n")
    monkeypatch.setenv(variable, str(tmp_path / "url"))
    assert load_settings().database_url == URL


def test_the_variable_itself_and_an_argument_go_before_the_file(tmp_path, monkeypatch):
    (tmp_path / "url").write_text(URL)
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/x")
    assert load_settings().database_url == "postgresql://other/x"
    monkeypatch.delenv("DATABASE_URL")
    assert load_settings(database_url="postgresql://third/x").database_url == "postgresql://third/x"


def test_a_file_goes_before_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "url").write_text("redis://r/1")
    (tmp_path / "tidegate.toml").write_text('redis_url = "redis://other/1"\nbroker_url = "redis://b/0"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("CELERY_BROKER_URL_FILE", "")
    settings = load_settings()
    assert (settings.redis_url, settings.broker_url) == ("redis://r/1", "redis://b/0")


def test_a_file_that_cannot_be_read_is_named(monkeypatch):
    monkeypatch.setenv("DATABASE_URL_FILE", "/nowhere")
    with pytest.raises(
        SettingError, match=r"database_url: the file /nowhere cannot be read: No such file or directory\."
    ):
        load_settings()
