"""Keeps the entry of a server in Consul: made when the server answers, told how it is, removed when it stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from tidegate.discovery.consul import ConsulAgent, ConsulFailed, Entry, Forgotten, Status

log = logging.getLogger("tidegate.consul")

TELL_EVERY_S = 10.0
TTL_S = 30
"""Two words may be lost."""
FORGOTTEN_AFTER_S = 600
LEAVE_WITHIN_S = 5.0


class Registration:
    """On a thread of its own, so that nothing else ever waits for Consul.

    `describe` makes the entry; `faults` names what keeps the server from work, none when it can. Whatever Consul does or
    does not do is only told in the log, once when it begins and once when it is over.
    """

    def __init__(
        self,
        agent: ConsulAgent,
        describe: Callable[[], Entry],
        faults: Callable[[], Sequence[str]],
        *,
        every_s: float = TELL_EVERY_S,
        leave_within_s: float = LEAVE_WITHIN_S,
    ) -> None:
        self._agent = agent
        self._describe = describe
        self._faults = faults
        self._every_s = every_s
        self._leave_within_s = leave_within_s
        self._entry: Entry | None = None
        self._registered = False
        self._trouble: str | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidegate-consul", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """The server takes no more requests: the entry is removed, beside whatever else is done. Does not wait."""
        self._left.set()

    def close(self) -> None:
        """Wait until the entry is removed, though not for ever: an agent that is away forgets it by itself."""
        self.leave()
        if self._thread.is_alive():
            self._thread.join(self._leave_within_s)

    def _run(self) -> None:
        while True:
            self._turn()
            if self._left.wait(self._every_s):
                break
        self._remove()
        self._agent.close()

    def _turn(self) -> None:
        try:
            self._keep()
        except ConsulFailed as error:
            self._note(str(error))
        except Exception:
            log.exception("The entry in Consul could not be kept; the next turn tries again.")
        else:
            self._note(None)

    def _keep(self) -> None:
        faults = self._faults()
        status: Status = "critical" if faults else "passing"
        # Who reads Consul is not known here: the names of what fails, and no more.
        output = f"Not able to work: {', '.join(faults)}." if faults else "Able to work."
        if self._entry is not None:
            try:
                self._agent.tell(self._entry.id, status, output)
            except Forgotten:
                if self._registered:
                    log.warning("Consul has forgotten this server; it is registered again.")
            else:
                return
        # From here on it may be there, also when the answer is late or lost, and is to be removed.
        self._entry = entry = self._describe()
        self._agent.register(entry, status, output)
        self._registered = True
        log.info("Registered with Consul at %s as %s.", self._agent.address, entry.id)

    def _remove(self) -> None:
        if self._entry is None:
            return
        try:
            self._agent.deregister(self._entry.id)
        except Forgotten:
            pass
        except ConsulFailed as error:
            log.log(
                logging.WARNING if self._registered else logging.DEBUG,
                "The entry %s stays in Consul until it forgets it: %s",
                self._entry.id,
                error,
            )
        else:
            log.info("Removed %s from Consul.", self._entry.id)

    def _note(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._trouble:
            log.warning("Consul cannot be told of this server: %s. It works on, and tries again.", trouble)
        elif trouble is None and self._trouble is not None:
            log.info("Consul is told of this server again.")
        self._trouble = trouble
