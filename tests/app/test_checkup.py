"""The doctor's look at what a cluster stands on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate.app import checkup
from tidegate.app.checkup import doctor
from tidegate.app.folders import folder_id
from tidegate.core.resources import Resources
from tidegate.ports import WorkerInfo
from tidegate.runtime.clock import SystemClock
from tidegate.settings import Settings
from tidegate.store import open_store
from tidegate.store.facts import look as facts_of
from tidegate.testing.servers import PostgreSQL, RabbitMQ, Redis

NOBODY = "redis://:secret@127.0.0.1:1/0"


def look(folder: Path, **settings: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The services and the problems by code."""
    report = doctor(Settings(data_dir=folder, port=0, **settings))
    return report["services"], {problem["code"]: problem for problem in report["problems"]}


def test_all_that_a_cluster_stands_on_is_looked_at(tmp_path: Path, postgresql: PostgreSQL, redis: Redis):
    with postgresql.database() as database:
        settings = {"database_url": database, "broker_url": redis.url, "redis_url": redis.url}
        services, problems = look(tmp_path, **settings)
        assert services["database"]["revision"] is None
        open_store(database).close()
        services, problems = look(tmp_path, **settings)
    assert services["database"]["product"].startswith("postgresql 1")
    assert services["database"]["revision"] == services["database"]["newest_revision"]
    assert abs(services["database"]["clock_offset_s"]) < checkup.MOST_CLOCK_OFFSET_S
    assert services["broker"]["fault"] is services["redis"]["fault"] is None
    assert services["shared_path"] == {"id": folder_id(tmp_path), "others": []}
    assert not {"database", "migration", "clock", "broker", "redis", "shared_path"} & set(problems)
    assert redis.password not in str(services)
    assert postgresql.password not in str(services)


def test_what_cannot_be_reached_is_named_without_its_password(tmp_path: Path):
    settings = {
        "database_url": "postgresql://me:secret@127.0.0.1:1/db",
        "broker_url": NOBODY,
        "redis_url": NOBODY,
    }
    services, problems = look(tmp_path, **settings)
    assert services["database"] is None
    assert {code: problems[code]["severity"] for code in ("database", "broker", "redis")} == {
        "database": "error", "broker": "error", "redis": "warning",
    }  # fmt: skip
    assert "secret" not in str(problems)
    assert "redis://***@127.0.0.1:1/0" in problems["broker"]["message"]


def test_rabbitmq_is_reached_as_well(tmp_path: Path, rabbitmq: RabbitMQ):
    services, _ = look(tmp_path, broker_url=rabbitmq.url)
    assert services["broker"]["fault"] is None
    assert services["database"] is None  # it will be made


def test_an_embedded_server_needs_no_services(tmp_path: Path):
    services, _ = look(tmp_path)
    assert services == {"database": None, "broker": None, "redis": None, "shared_path": None, "consul": None}


def test_a_worker_that_sees_another_folder_is_named(tmp_path: Path):
    database = f"sqlite:///{tmp_path / 'tidegate.db'}"
    store = open_store(database)
    seen = {"same": folder_id(tmp_path), "other": "an-other-id", "old": ""}
    for name, folder in seen.items():
        versions = {"shared_path": folder} if folder else {}
        info = WorkerInfo(name, name, Resources(), Resources(), versions=versions)
        store.register(info, SystemClock().now(), 60.0)
    store.close()
    services, problems = look(tmp_path, broker_url=NOBODY)
    assert services["shared_path"]["others"] == ["other"]
    assert problems["shared_path"]["severity"] == "error"


@pytest.mark.parametrize(("ahead_s", "word"), [(60.0, "behind"), (-60.0, "ahead of")])
def test_a_clock_that_is_off_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float, word: str
):
    open_store(f"sqlite:///{tmp_path / 'tidegate.db'}").close()

    def look_at_another_time(url: str) -> Any:
        facts = facts_of(url)
        object.__setattr__(facts, "now", facts.now + timedelta(seconds=ahead_s))
        return facts

    monkeypatch.setattr(checkup, "look", look_at_another_time)
    _, problems = look(tmp_path)
    assert f"s {word} the database's" in problems["clock"]["message"]
    assert problems["clock"]["severity"] == "warning"


def test_one_folder_has_one_id_and_another_has_another(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert folder_id(one) == folder_id(one) != folder_id(other)
    assert [path.name for path in one.iterdir()] == ["folder-id"]
