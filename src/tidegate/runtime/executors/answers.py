"""The way back to whoever awaits a call, from any thread to its event loop."""

from __future__ import annotations

import asyncio
from typing import Any


class Answer:
    """Awaited once, on the loop that made it; told once or more, from any thread. Only the first time counts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    async def wait(self) -> Any:
        """What is told: the value, or the error raised."""
        return await self._future

    def tell(self, value: Any, error: BaseException | None) -> None:
        """A value and None, or an error. Nobody listens any more when the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._settle, value, error)
        except RuntimeError:
            return

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self._future.done():
            return
        if error is None:
            self._future.set_result(value)
        elif isinstance(error, StopIteration):  # no future takes it: raised in a coroutine it would end that
            substitute = RuntimeError(f"The function raised StopIteration({error}).")
            substitute.__cause__ = error
            self._future.set_exception(substitute)
        else:
            self._future.set_exception(error)
