"""The client that a command works with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tidegate.client.client import Client
from tidegate.client.session import choose_server
from tidegate.errors import TidegateError

_WORTH_TELLING_S = 0.5


@contextmanager
def client(
    url: str | None,
    data_dir: str | None,
    *,
    may_start: bool = False,
    start_settings: Mapping[str, Any] | None = None,
) -> Iterator[Client]:
    """A client of the server that is meant. Only where `may_start` says so is one started when none runs."""
    target = choose_server(url, data_dir, None, {}, may_start=may_start, start_settings=start_settings)
    with Client(target) as made:
        made.on_wait = _tell_wait
        yield made


def _tell_wait(pause_s: float, error: TidegateError) -> None:
    if pause_s >= _WORTH_TELLING_S:
        print(f"{error.message} Waiting {pause_s:.1f} s.", file=sys.stderr)
