"""Alerts, their rules, silences and channels, over HTTP; both faces over the same calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from tidegate.client import calls
from tidegate.client.shapes import Document

if TYPE_CHECKING:
    # A program uses one face and loads one.
    from tidegate.client.aio_connection import AsyncConnection
    from tidegate.client.connection import Connection


class Alerts:
    """The alerts of a server. To change something takes an operator's key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self, *, state: str | None = None, level: str | None = None, rule: str | None = None
    ) -> Iterator[Document]:
        """The newest first. `state`: `open`, `acknowledged`, `resolved`, or `active` for the first two; `level`: at least."""
        return self._connection.pages(
            lambda cursor: calls.alerts.page(state=state, level=level, rule=rule, cursor=cursor)
        )

    def get(self, alert_id: str | int) -> Document:
        """An alert with its history, what to do, and who was told. Raises NotFound."""
        return self._connection.send(calls.alerts.get(str(alert_id)))

    def acknowledge(self, alert_id: str | int, note: str = "") -> Document:
        """It is not told again, unless it grows worse or ends. Raises NotFound."""
        return self._connection.send(calls.alerts.acknowledge(str(alert_id), note))

    def silence(
        self, minutes: float, *, rule: str | None = None, subject: str | None = None, reason: str = ""
    ) -> Document:
        """Keep quiet about a rule, a subject, both together, or everything."""
        return self._connection.send(calls.alerts.add_silence(minutes, rule, subject, reason))

    def silences(self) -> Iterator[Document]:
        """Those that have not ended."""
        return self._connection.pages(calls.alerts.silences)

    def end_silence(self, silence_id: str | int) -> Document:
        """It ends now. Raises NotFound."""
        return self._connection.send(calls.alerts.end_silence(str(silence_id)))

    def rules(self) -> Iterator[Document]:
        """All rules, as they hold now."""
        return self._connection.pages(calls.alerts.rules)

    def change_rule(self, name: str, **changes: float | bool | None) -> Document:
        """Change `warning`, `severe`, `danger` (None: not a level of this rule), `hold_s`, `clear_s`, `slack`, `repeat_s` or
        `enabled`; what is left out stays. Raises NotFound, InvalidInput."""
        return self._connection.send(calls.alerts.change_rule(name, changes))

    def reset_rule(self, name: str) -> Document:
        """Its defaults hold again. Raises NotFound."""
        return self._connection.send(calls.alerts.reset_rule(name))

    def channels(self) -> Iterator[Document]:
        """All channels, with how they do."""
        return self._connection.pages(calls.alerts.channels)

    def test(self, channel: str) -> Document:
        """Send a test message; `sent` of the answer says whether that went well, `error` why not. Raises NotFound."""
        return self._connection.send(calls.alerts.test_channel(channel))


class AsyncAlerts:
    """The alerts of a server. See `Alerts`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list(
        self, *, state: str | None = None, level: str | None = None, rule: str | None = None
    ) -> AsyncIterator[Document]:
        """The newest first."""
        pages = self._connection.pages(
            lambda cursor: calls.alerts.page(state=state, level=level, rule=rule, cursor=cursor)
        )
        async for document in pages:
            yield document

    async def get(self, alert_id: str | int) -> Document:
        """An alert with its history. Raises NotFound."""
        return await self._connection.send(calls.alerts.get(str(alert_id)))

    async def acknowledge(self, alert_id: str | int, note: str = "") -> Document:
        """It is not told again, unless it grows worse or ends. Raises NotFound."""
        return await self._connection.send(calls.alerts.acknowledge(str(alert_id), note))

    async def silence(
        self, minutes: float, *, rule: str | None = None, subject: str | None = None, reason: str = ""
    ) -> Document:
        """Keep quiet about a rule, a subject, both together, or everything."""
        return await self._connection.send(calls.alerts.add_silence(minutes, rule, subject, reason))

    async def silences(self) -> AsyncIterator[Document]:
        """Those that have not ended."""
        async for document in self._connection.pages(calls.alerts.silences):
            yield document

    async def end_silence(self, silence_id: str | int) -> Document:
        """It ends now. Raises NotFound."""
        return await self._connection.send(calls.alerts.end_silence(str(silence_id)))

    async def rules(self) -> AsyncIterator[Document]:
        """All rules, as they hold now."""
        async for document in self._connection.pages(calls.alerts.rules):
            yield document

    async def change_rule(self, name: str, **changes: float | bool | None) -> Document:
        """Change a rule; what is left out stays. See `Alerts.change_rule`."""
        return await self._connection.send(calls.alerts.change_rule(name, changes))

    async def reset_rule(self, name: str) -> Document:
        """Its defaults hold again. Raises NotFound."""
        return await self._connection.send(calls.alerts.reset_rule(name))

    async def channels(self) -> AsyncIterator[Document]:
        """All channels, with how they do."""
        async for document in self._connection.pages(calls.alerts.channels):
            yield document

    async def test(self, channel: str) -> Document:
        """Send a test message; see `Alerts.test`."""
        return await self._connection.send(calls.alerts.test_channel(channel))
