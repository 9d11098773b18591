"""What a channel is given of an alert."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tidegate.core.alert_rules import Level, Rule
from tidegate.core.alerts import Happening
from tidegate.ports import Message, Notice


def message_of(notice: Notice, rules: Mapping[str, Rule], place: str) -> Message:
    """The message of a notice. `place` says which Tidegate speaks."""
    rule = rules.get(notice.rule)
    advice = rule.advice if rule is not None and notice.what is not Happening.RESOLVED else ""
    lines = [
        notice.text,
        advice,
        f"Alert {notice.alert_id} of {place}: {notice.rule}, {notice.subject}; raised {_instant(notice.raised_at)}. "
        f"Once it is seen: tidegate alerts ack {notice.alert_id}",
    ]
    facts: dict[str, str | float | None] = {
        "event": notice.what.value,
        "alert_id": str(notice.alert_id),
        "rule": notice.rule,
        "subject": notice.subject,
        "level": notice.level.word,
        "text": notice.text,
        "advice": advice,
        "value": notice.value,
        "unit": rule.unit if rule is not None else "",
        "raised_at": _instant(notice.raised_at),
        "at": _instant(notice.at),
        "source": place,
    }
    return Message(
        notice.id, _title(notice), "\n\n".join(line for line in lines if line), notice.level, notice.at, facts
    )


def trial_message(place: str, by: str, at: datetime) -> Message:
    """What the test button sends."""
    text = f"This is a test of {place}, asked for by {by}. Nothing is wrong."
    facts: dict[str, str | float | None] = {
        "event": "test", "level": Level.INFO.word, "text": text, "at": _instant(at), "source": place,
    }  # fmt: skip
    return Message(f"test-{at:%Y%m%d%H%M%S%f}", "Tidegate: a test of alerts", text, Level.INFO, at, facts)


def _title(notice: Notice) -> str:
    state = "resolved" if notice.what is Happening.RESOLVED else notice.level.word
    again = ", again" if notice.what is Happening.REPEATED else ""
    return f"Tidegate, {state}{again}: {notice.text}"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
