"""The command `tidegate`, also as `python -m tidegate`: quiet from the first moment when it is interrupted."""

from __future__ import annotations

import os
import signal
from importlib import import_module

INTERRUPTED = 130
STORY = b"\nInterrupted.\n"


def main() -> None:
    """Load the command line and run it.

    Loading takes 0.2 s, in which Ctrl-C would show a traceback of whatever is being imported; there is nothing to clean
    up yet. An interrupt that is ignored, as in the background of a script, stays ignored.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _leave)
    command_line = import_module("tidegate.ui.cli")
    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command_line.main()
    except KeyboardInterrupt:
        os.write(2, STORY)
        raise SystemExit(INTERRUPTED) from None


def _leave(*_: object) -> None:
    os.write(2, STORY)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
