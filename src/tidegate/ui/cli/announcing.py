"""The one line by which `serve` and `worker` say that they are up."""

from __future__ import annotations

import logging

from tidegate.settings import Settings

log = logging.getLogger("tidegate.app")


def say(line: str, settings: Settings) -> None:
    """As the first line of standard output; where the log goes there, as one line of that."""
    if settings.log_to == "stdout":
        log.info("%s", line)
    else:
        print(line, flush=True)
