"""One client for the functions of a program that submit themselves."""

from __future__ import annotations

import atexit
import os
import threading

from tidegate.client.client import Client
from tidegate.client.session import choose_server

_lock = threading.Lock()
_clients: dict[tuple[int, str | None, str | None, str | None], Client] = {}
_CHOSEN_BY = ("TIDEGATE_URL", "TIDEGATE_DATA_DIR", "TIDEGATE_API_KEY")


def shared_client() -> Client:
    """The client of the server that the environment names; closed when the program ends. Starts no server.

    Raises ServerUnreachable.
    """
    url, data_dir, key = (os.environ.get(name) for name in _CHOSEN_BY)
    chosen = (os.getpid(), url, data_dir, key)
    with _lock:
        if chosen not in _clients:
            client = Client(choose_server(None, None, None, {}, may_start=False))
            atexit.register(client.close)
            _clients[chosen] = client
        return _clients[chosen]
