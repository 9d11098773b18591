"""Embedded or cluster: what only a cluster needs is loaded only for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.errors import SettingError
from tidegate.settings import Settings

if TYPE_CHECKING:
    from tidegate.app.cluster import Wires


def wire(settings: Settings) -> Wires:
    """What connects this process with the others of its cluster. Raises SettingError when the extra is not installed."""
    try:
        from tidegate.app.cluster import Wires  # noqa: PLC0415 - needs the extra `cluster`
    except ModuleNotFoundError as error:
        raise SettingError(
            f"`broker_url` is set, but {error.name} is not installed. Install tidegate[cluster], or run without a broker."
        ) from None
    return Wires(settings)
