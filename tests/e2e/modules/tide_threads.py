"""A module that starts a thread when it is imported, so it cannot be loaded before a fork."""

from __future__ import annotations

import threading

import tidegate

_ready = threading.Event()
threading.Thread(target=_ready.wait, daemon=True).start()


@tidegate.function
def threads() -> int:
    return threading.active_count()
