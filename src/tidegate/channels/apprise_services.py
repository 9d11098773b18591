"""The services that Apprise knows: SMS gateways, chat, e-mail of providers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import apprise

from tidegate.core.alert_rules import Level
from tidegate.errors import SettingError
from tidegate.ports import ChannelFailed, Message

_KINDS = {
    Level.INFO: apprise.NotifyType.SUCCESS,
    Level.WARNING: apprise.NotifyType.WARNING,
    Level.SEVERE: apprise.NotifyType.FAILURE,
    Level.DANGER: apprise.NotifyType.FAILURE,
}


class AppriseChannel:
    """One URL of Apprise. It bounds each of its waits by itself; why something failed stands in its log lines."""

    def __init__(self, name: str, url: str) -> None:
        with _speechless():
            made = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if made is None:
            raise SettingError(
                f"alert_channels: Apprise does not understand the URL of {name!r}. See its list of services."
            )
        self.name = name
        self._service = made
        # Which parts of a URL are secret differs from service to service, so none is shown.
        self.address = f"{made.service_name} ({url.partition(':')[0].lower()}://…)"

    def send(self, message: Message) -> None:
        try:
            sent = self._service.notify(
                body=message.text, title=message.title, notify_type=_KINDS[message.level]
            )
        except TypeError as error:
            raise ChannelFailed(f"{self.address} cannot take the message: {type(error).__name__}.") from None
        if not sent:
            raise ChannelFailed(f"{self.address} did not take the message; the log of the server says why.")


@contextlib.contextmanager
def _speechless() -> Iterator[None]:
    """Apprise logs the whole of a URL that it does not understand."""
    log = logging.getLogger("apprise")
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False
