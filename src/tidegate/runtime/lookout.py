"""A worker's own look for its starts, for when nobody can bring them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from tidegate.core.plan import Start

log = logging.getLogger("tidegate.worker")


class Lookout:
    """Every `every_s` launches what `look` finds: starts of this worker that should have been brought long ago.

    So a broker that is away for long, or only for this machine, makes jobs slower and not stuck. To launch twice is harmless.
    """

    def __init__(
        self,
        look: Callable[[], Sequence[Start]],
        launch: Callable[[Sequence[Start]], None],
        *,
        every_s: float,
    ) -> None:
        self._look = look
        self._launch = launch
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                starts = self._look()
            except Exception as error:  # noqa: BLE001 - whatever the store raises, there is a next time
                log.warning("The store could not be asked for starts: %s", error)
                continue
            if starts:
                log.warning("%d starts were found in the store that nobody has brought.", len(starts))
                self._launch(starts)
