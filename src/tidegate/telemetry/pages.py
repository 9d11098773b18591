"""The page that Prometheus reads: of this process, or of all that share its port."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tidegate.telemetry.meters import Meters

if TYPE_CHECKING:
    from tidegate.telemetry.siblings import Siblings

__all__ = ["Pages"]


class Pages:
    """Makes pages. With `siblings` a page is of all processes of the port, each series with the label `process`."""

    def __init__(self, meters: Meters, siblings: Siblings | None = None) -> None:
        self._meters = meters
        self._siblings = siblings
        self._thread: ThreadPoolExecutor | None = None

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type; `accept` is that header of the request. Blocks for some seconds at most."""
        # Loads prometheus-client, which a server that nobody asks does not need.
        from tidegate.telemetry.exposition import page  # noqa: PLC0415

        own = ("" if self._siblings is None else self._siblings.name, self._meters.samples())
        others = [] if self._siblings is None else self._siblings.ask()
        return page([own, *others], accept)

    async def page_later(self, accept: str = "") -> tuple[bytes, str]:
        """The same for an event loop. On a thread of its own: those that read the store may all wait for it."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="tidegate-metrics")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.page, accept)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
