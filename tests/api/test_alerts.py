"""Alerts over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.support import World, assert_problem, world_in
from tests.channels.receivers import SECRET, Mailbox, Webhook, mail_server, webhook
from tidegate.core.alert_rules import Level
from tidegate.core.identity import Action
from tidegate.ports import AuditFilter

ALERTS = "/api/v1/alerts"


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[World, Webhook, Mailbox]]:
    """A server with two channels; one wants to hear of what is severe only."""
    with webhook() as hook, mail_server() as box:
        channels = {"hook": hook.url, "mail": box.url("tide:hunter2@")}
        levels = {"mail": "severe"}
        with world_in(tmp_path / "data", alert_channels=channels, alert_levels=levels) as world:
            yield world, hook, box


def items(world: World, path: str = "", **params: Any) -> list[dict[str, Any]]:
    answer = world.http.get(ALERTS + path, params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_alerts_are_listed_in_pages_and_by_what_they_are(world: World):
    made = [
        world.raise_alert(subject=f"node-{i}", level=level)
        for i, level in enumerate((Level.WARNING, Level.SEVERE, Level.DANGER))
    ]
    newest = [str(alert.id) for alert in reversed(made)]
    assert [alert["alert_id"] for alert in items(world)] == newest
    first = world.http.get(ALERTS, params={"limit": 2}).json()
    assert [alert["alert_id"] for alert in first["items"]] == newest[:2]
    assert [one["alert_id"] for one in items(world, cursor=first["next_cursor"])] == newest[2:]
    assert [alert["level"] for alert in items(world, level="severe")] == ["danger", "severe"]
    world.http.post(f"{ALERTS}/{made[0].id}/acknowledge")
    assert len(items(world, state="open")) == 2
    assert [alert["subject"] for alert in items(world, state="acknowledged")] == ["node-0"]
    assert len(items(world, state="active")) == 3
    assert items(world, state="resolved") == items(world, rule="disk") == []
    assert_problem(world.http.get(ALERTS, params={"state": "odd"}), 422, "invalid_input")


def test_an_alert_is_shown_with_its_history_and_acknowledged_once(told: tuple[World, Webhook, Mailbox]):
    world, _, _ = told
    alert = world.raise_alert(rule="memory")
    path = f"{ALERTS}/{alert.id}"
    answer = world.http.post(f"{path}/acknowledge", json={"note": "on it"})
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("acknowledged", "local")
    assert world.http.post(f"{path}/acknowledge").json() == answer.json()
    shown = world.http.get(path).json()
    assert [(one["what"], one["text"], one["by"]) for one in shown["history"]] == [
        ("raised", "Memory is full.", None),
        ("acknowledged", "on it", "local"),
    ]
    assert "Find out who uses it" in shown["advice"]
    assert [(one["channel"], one["what"], one["level"]) for one in shown["notices"]] == [
        ("hook", "raised", "severe"),
        ("mail", "raised", "severe"),
    ]
    (row,) = world.service.store.audit(AuditFilter(action=Action.ACKNOWLEDGE_ALERT))
    assert row.object == f"alert {alert.id}"
    for wrong in ("0", "-1", "x", "9" * 30, "1.5"):
        assert_problem(world.http.get(f"{ALERTS}/{wrong}"), 404, "not_found")


def test_a_silence_covers_what_it_names_until_it_is_ended(world: World):
    alert = world.raise_alert(rule="disk", subject="node-1")
    asked = {"rule": "disk", "minutes": 90, "reason": "new disk"}
    made = world.http.post(f"{ALERTS}/silences", json=asked)
    assert made.status_code == 201
    silence = made.json()
    assert (silence["rule"], silence["subject"], silence["created_by"]) == ("disk", None, "local")
    assert items(world)[0]["silenced"]
    assert world.http.get(f"{ALERTS}/{alert.id}").json()["silenced"]
    assert items(world, "/silences") == [silence]
    ended = world.http.delete(f"{ALERTS}/silences/{silence['silence_id']}").json()
    assert ended["ends_at"] < silence["ends_at"]
    assert world.http.delete(f"{ALERTS}/silences/{silence['silence_id']}").json() == ended
    assert items(world, "/silences") == []
    assert not items(world)[0]["silenced"]
    silences = f"{ALERTS}/silences"
    assert_problem(world.http.post(silences, json={"rule": "odd", "minutes": 1}), 404, "not_found")
    for wrong in ({"minutes": 0}, {"minutes": 50_000}, {}, {"minutes": 1, "who": "me"}):
        assert_problem(world.http.post(silences, json=wrong), 422, "invalid_input")


def test_rules_are_shown_changed_and_put_back(world: World):
    before = {rule["name"]: rule for rule in items(world, "/rules")}
    assert list(before) == sorted(before)
    assert (before["memory"]["warning"], before["memory"]["danger"]) == (80, 100)
    path = f"{ALERTS}/rules/memory"
    changed = world.http.patch(path, json={"warning": 70, "danger": None, "hold_s": 5}).json()
    assert (changed["warning"], changed["severe"], changed["danger"], changed["hold_s"]) == (70, 95, None, 5)
    assert changed["changed_by"] == "local"
    assert world.http.patch(path, json={"enabled": False}).json()["warning"] == 70
    assert next(rule for rule in items(world, "/rules") if rule["name"] == "memory")["enabled"] is False
    assert world.http.delete(path).json() == before["memory"]
    for wrong, field in (({"warning": 96}, "warning"), ({"hold_s": None}, "hold_s"), ({"slack": 2}, "slack")):
        assert assert_problem(world.http.patch(path, json=wrong), 422, "invalid_input")["field"] == field
    assert_problem(world.http.patch(f"{ALERTS}/rules/odd", json={"warning": 1}), 404, "not_found")
    assert len(world.service.store.audit(AuditFilter(action=Action.CHANGE_ALERT_RULE))) == 3
    first = world.http.get(f"{ALERTS}/rules", params={"limit": 5}).json()
    rest = items(world, "/rules", cursor=first["next_cursor"])
    assert [rule["name"] for rule in first["items"] + rest] == list(before)


def test_channels_are_shown_without_secrets_and_tested(told: tuple[World, Webhook, Mailbox]):
    world, hook, box = told
    answer = world.http.post(f"{ALERTS}/channels/hook/test")
    assert answer.json() == {"name": "hook", "sent": True, "error": None}
    assert json.loads(hook.next().body)["event"] == "test"
    box.refusal = "554 no thanks"
    answer = world.http.post(f"{ALERTS}/channels/mail/test").json()
    assert not answer["sent"]
    first, second = items(world, "/channels")
    assert (first["name"], first["level"], first["failures"], bool(first["worked_at"])) == (
        "hook",
        "warning",
        0,
        True,
    )
    assert (second["name"], second["level"], second["failures"]) == ("mail", "severe", 1)
    assert second["error"] == answer["error"]
    shown = json.dumps([first, second, answer])
    for secret in (SECRET, SECRET.replace(" ", "%20"), "hunter2", "hooks"):
        assert secret not in shown
    assert_problem(world.http.post(f"{ALERTS}/channels/none/test"), 404, "not_found")
    assert [row.object for row in world.service.store.audit(AuditFilter(action=Action.TEST_CHANNEL))] == [
        "channel mail",
        "channel hook",
    ]
