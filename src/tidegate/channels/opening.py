"""From the URLs of the settings to channels. A URL may hold secrets, so no error shows one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from tidegate.channels.bad_url import BadUrl
from tidegate.channels.webhook import WebhookChannel
from tidegate.errors import SettingError
from tidegate.ports import Channel

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def open_channels(urls: Mapping[str, str]) -> dict[str, Channel]:
    """By name. Raises SettingError for a URL that cannot be used, or that needs an extra which is not installed.

    `smtp` and `smtps` send e-mail, `http` and `https` call a webhook; all else is Apprise's, which is loaded only then.
    """
    return {name: _open(name, url) for name, url in urls.items()}


def _open(name: str, url: str) -> Channel:
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"alert_channels: a name must be 1 to 63 lower-case letters, digits, _ or -, not {name!r:.80}."
        )
    scheme = url.partition(":")[0].lower()
    try:
        if scheme in ("smtp", "smtps"):
            return _open_smtp(name, url)
        if scheme in ("http", "https"):
            return WebhookChannel(name, urlsplit(url))
    except ValueError as error:
        why = error if isinstance(error, BadUrl) else "its host or port cannot be read"
        raise SettingError(f"alert_channels: the URL of {name!r} cannot be used: {why}.") from None
    return _open_apprise(name, url)


def _open_smtp(name: str, url: str) -> Channel:
    from tidegate.channels.smtp import SmtpChannel  # noqa: PLC0415 - smtplib, which most servers have no use for

    return SmtpChannel(name, urlsplit(url))


def _open_apprise(name: str, url: str) -> Channel:
    try:
        from tidegate.channels.apprise_services import AppriseChannel  # noqa: PLC0415 - needs the extra `alerts`
    except ModuleNotFoundError as error:
        raise SettingError(
            f"alert_channels: the URL of {name!r} is for Apprise, but {error.name} is not installed. "
            "Install tidegate[alerts], or use smtp(s): or http(s): URLs."
        ) from None
    return AppriseChannel(name, url)
