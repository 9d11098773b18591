"""What the API shows of alerts, their rules, silences and channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tidegate.api.views import instant
from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Silence
from tidegate.ports import Channel, ChannelState, Notice
from tidegate.server.alerts.desk import RuleNow

_BASE = "/api/v1/alerts"


def alert_view(alert: Alert, silenced: bool) -> dict[str, Any]:
    return {
        "alert_id": str(alert.id),
        "rule": alert.rule,
        "subject": alert.subject,
        "level": alert.level.word,
        "state": alert.state,
        "silenced": silenced,
        "value": alert.value,
        "message": alert.message,
        "raised_at": instant(alert.raised_at),
        "changed_at": instant(alert.changed_at),
        "resolved_at": instant(alert.resolved_at),
        "acknowledged_at": instant(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
        "told_at": instant(alert.told_at),
        "links": {"self": f"{_BASE}/{alert.id}", "acknowledge": f"{_BASE}/{alert.id}/acknowledge"},
    }


def history_view(alert: Alert, notices: Sequence[Notice], advice: str) -> dict[str, Any]:
    """What is shown of one alert beside what lists show."""
    return {
        "advice": advice,
        "history": [
            {
                "at": instant(moment.at),
                "what": moment.what.value,
                "level": moment.level.word,
                "text": moment.text,
                "by": moment.by,
            }
            for moment in alert.moments
        ],
        "notices": [_notice_view(notice) for notice in notices],
    }


def _notice_view(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "channel": notice.channel,
        "what": notice.what.value,
        "level": notice.level.word,
        "state": notice.state,
        "tries": notice.tries,
        "at": instant(notice.at),
        "ended_at": instant(notice.ended_at),
        "error": notice.error,
    }


def rule_view(now: RuleNow) -> dict[str, Any]:
    change = now.change
    return {
        **asdict(now.rule),
        "changed_at": instant(change.changed_at) if change is not None else None,
        "changed_by": change.changed_by if change is not None else None,
    }


def silence_view(silence: Silence) -> dict[str, Any]:
    return {
        "silence_id": str(silence.id),
        "rule": silence.rule,
        "subject": silence.subject,
        "reason": silence.reason,
        "created_by": silence.created_by,
        "starts_at": instant(silence.starts_at),
        "ends_at": instant(silence.ends_at),
    }


def channel_view(channel: Channel, least: Level, state: ChannelState) -> dict[str, Any]:
    return {
        "name": channel.name,
        "address": channel.address,
        "level": least.word,
        "failures": state.failures,
        "worked_at": instant(state.worked_at),
        "failed_at": instant(state.failed_at),
        "error": state.error,
    }
