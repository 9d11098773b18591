"""Alerts, silences, changed rules, and messages to channels, as stored; and the channels themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Alert, Change, Happening, Silence
from tidegate.core.identity import Caller

AlertState = Literal["open", "acknowledged", "resolved", "active"]
"""`active` is both that have not ended."""
RuleChanges = Mapping[str, float | bool | None]


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts are wanted; None means any. Newest first, ids below `before_id`. `level`: at least this one."""

    state: AlertState | None = None
    level: Level = Level.INFO
    rule: str | None = None
    before_id: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What operators have changed of a rule, and who did so last."""

    rule: str
    changes: RuleChanges
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One message of an alert to one channel. `number` counts what was told of the alert, from 1.

    `id` is the same at each try, so that a receiver can tell a message from its repetition.
    """

    alert_id: int
    number: int
    channel: str
    what: Happening
    level: Level
    rule: str
    subject: str
    text: str
    value: float | None
    raised_at: datetime
    at: datetime
    tries: int = 0
    state: Literal["waiting", "sending", "sent", "given_up"] = "waiting"
    error: str | None = None
    ended_at: datetime | None = None

    @property
    def id(self) -> str:
        return f"{self.alert_id}-{self.number}-{self.raised_at:%Y%m%d%H%M%S}"


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How sending to a channel has gone. `failures`: tries in a row, up to the last one, that have failed."""

    name: str
    failures: int = 0
    worked_at: datetime | None = None
    failed_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WorkDone:
    """Jobs that have ended within some time: how many succeeded or failed, how many of these failed, and how long those that
    had started ran, all together. Cancelled jobs do not count."""

    ended: int = 0
    failed: int = 0
    ran: int = 0
    run_s: float = 0.0


class AlertStore(Protocol):
    """What is kept of alerts. Only the leader raises and resolves: its writes name its epoch. Operators write anywhere."""

    def open_alerts(self) -> list[Alert]:
        """Those that have not ended, in the order in which they were raised."""
        ...

    def alerts(self, filter: AlertFilter) -> list[Alert]: ...

    def alert(self, alert_id: int) -> Alert:
        """Raises NotFound."""
        ...

    def record_alerts(
        self, changes: Sequence[Change], channels: Mapping[str, Level], epoch: int
    ) -> list[Alert]:
        """Store what the leader has decided, and a notice for each channel that is to be told: in one transaction.

        `channels` says from which level on each wants to hear. A change of an alert that somebody has written meanwhile
        is left out, as is a second episode of what has one; the next look sees why. The alerts that were stored.
        Raises NotLeader.
        """
        ...

    def acknowledge_alert(self, alert_id: int, at: datetime, by: Caller, note: str = "") -> Alert:
        """Somebody has seen it. Doing so again, or after its end, changes nothing. Raises NotFound."""
        ...

    def silences(self, at: datetime | None = None) -> list[Silence]:
        """In the order in which they were made; with `at` only those that have not ended by then."""
        ...

    def add_silence(self, silence: Silence, by: Caller) -> Silence:
        """With its id."""
        ...

    def end_silence(self, silence_id: int, at: datetime, by: Caller) -> Silence:
        """From now on what it covers is told again. One that has ended stays as it is. Raises NotFound."""
        ...

    def rule_changes(self) -> list[RuleChange]:
        """In order of name."""
        ...

    def change_rule(self, rule: str, changes: RuleChanges | None, at: datetime, by: Caller) -> None:
        """Keep these changes beside those that are kept of this rule; None forgets all of them."""
        ...

    def notices(self, alert_id: int) -> list[Notice]:
        """All messages of an alert, in order."""
        ...

    def claim_notice(self, channel: str, at: datetime, until: datetime) -> Notice | None:
        """Take the oldest message that is due for the channel, for one try; nobody else gets it before `until`.

        A later message of the same alert is not due while an earlier one is still to be sent. One that was taken and not
        ended in time is due again: whether it was sent is then not known.
        """
        ...

    def end_notice(
        self, notice: Notice, at: datetime, error: str | None = None, again_at: datetime | None = None
    ) -> bool:
        """How the try went, also for the state of its channel. With an error and without `again_at` it is given up.

        False when somebody else has taken it since.
        """
        ...

    def channel_states(self) -> list[ChannelState]:
        """Of each channel that was ever used, in order of name."""
        ...

    def note_channel(self, name: str, at: datetime, error: str | None) -> None:
        """How sending something else than a notice went."""
        ...

    def work_done(self, since: datetime, until: datetime) -> WorkDone:
        """Of the jobs that ended from `since` on and before `until`."""
        ...

    def prune_alerts(self, before: datetime) -> int:
        """Forget alerts and silences that ended before; how many alerts."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """What goes over a channel. `id` is the same when it is sent again; `facts` are plain JSON values for programs."""

    id: str
    title: str
    text: str
    level: Level
    at: datetime
    facts: Mapping[str, str | float | None]


class ChannelFailed(Exception):
    """A message could not be sent. Its text says why, and holds no secret."""


class Channel(Protocol):
    """A way to people or programs. `send` blocks, but each wait inside it is bounded."""

    name: str
    address: str
    """Where it leads, for people; without secrets."""

    def send(self, message: Message) -> None:
        """Raises ChannelFailed."""
        ...


__all__ = [
    "AlertFilter",
    "AlertState",
    "AlertStore",
    "Channel",
    "ChannelFailed",
    "ChannelState",
    "Message",
    "Notice",
    "RuleChange",
    "RuleChanges",
    "WorkDone",
]
