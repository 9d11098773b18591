"""A line between all processes of an installation, over Redis pub/sub. What is said on it may be lost."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from tidegate.cache.connection import ANSWERS_WITHIN_S, Trouble, connect

log = logging.getLogger("tidegate.cache")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 2.0
SILENT_S = 5.0
"""A line on which nobody has said anything for so long is asked whether it still stands; after twice that it is made anew."""
_TURN_S = 1.0

Take = Callable[[], str | None]
Heard = Callable[[str], None]
Back = Callable[[], None]


class RedisLine:
    """Speaks and listens on channels, each on a thread of its own that exists once it is needed. Thread-safe.

    Both threads connect again by themselves. `namespace` keeps installations on one Redis apart: its pub/sub knows no
    databases.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._speaking = connect(url)
        self._listening = connect(url, listens=True)
        self._namespace = namespace
        self._takes: dict[str, Take] = {}
        self._ears: dict[str, tuple[Heard, Back]] = {}
        self._said = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._speaker = threading.Thread(target=self._speak, name="tidegate-line-speak", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="tidegate-line-listen", daemon=True)

    def speak(self, channel: str, take: Take) -> None:
        """After `wake`, `take` is asked from another thread what to say on the channel; None: nothing."""
        self._takes[self._name(channel)] = take

    def wake(self) -> None:
        """There is something to say. Returns at once."""
        if not self._said.is_set():
            self._said.set()
            self._ensure(self._speaker)

    def listen(self, channel: str, heard: Heard, back: Back) -> None:
        """Call `heard` with what is said on the channel from now on, and `back` each time the line stands (again).

        What was said before `back` may not have been heard. All channels are to be named before the first one is needed.
        """
        self._ears[self._name(channel)] = (heard, back)

    def open_ears(self) -> None:
        """Begin to listen; returns at once."""
        self._ensure(self._listener)

    def close(self) -> None:
        """Say what is left to be said, and end."""
        with self._lock:
            self._stopped.set()
        self._said.set()
        with contextlib.suppress(*Trouble):
            for channel in self._ears:
                self._speaking.publish(channel, "")  # wakes our own listener, and everybody else for nothing
                break
        for thread in (self._speaker, self._listener):
            if thread.ident is not None:
                thread.join()
        self._speaking.close()
        self._listening.close()

    def _name(self, channel: str) -> str:
        return f"{self._namespace}:{channel}"

    def _ensure(self, thread: threading.Thread) -> None:
        with self._lock:
            if thread.ident is None and not self._stopped.is_set():
                thread.start()

    def _speak(self) -> None:
        outage = _Outage("Others cannot be told of news at the moment")
        while not self._stopped.is_set():
            self._said.wait()
            self._said.clear()
            try:
                self._say()
                outage.over()
            except Trouble as error:
                self._stopped.wait(outage.delay_s(error))

    def _say(self) -> None:
        for channel, take in self._takes.items():
            if text := take():
                self._speaking.publish(channel, text)

    def _listen(self) -> None:
        outage = _Outage("News of others cannot be heard at the moment")
        while not self._stopped.is_set():
            try:
                self._hear(self._listening, outage)
            except Trouble as error:
                self._stopped.wait(outage.delay_s(error))

    def _hear(self, client: Redis, outage: _Outage) -> None:
        """Until the line breaks, which raises, or `close`."""
        with client.pubsub() as ears:  # type: ignore[no-untyped-call]
            ears.subscribe(*self._ears)
            awaited = set(self._ears)
            heard_s = asked_s = time.monotonic()
            while not self._stopped.is_set():
                message = ears.get_message(timeout=_TURN_S)
                now_s = time.monotonic()
                if message is not None:
                    heard_s = asked_s = now_s
                    self._take_in(message, awaited, outage)
                elif now_s - heard_s > 2 * SILENT_S or (awaited and now_s - heard_s > ANSWERS_WITHIN_S):
                    raise TimeoutError(f"no answer for {now_s - heard_s:.0f} s")
                elif now_s - asked_s > SILENT_S:
                    asked_s = now_s
                    ears.ping()

    def _take_in(self, message: dict[str, Any], awaited: set[str], outage: _Outage) -> None:
        channel = message["channel"]
        if message["type"] == "subscribe":
            awaited.discard(channel)
            outage.over()
            _call(self._ears[channel][1])
        elif message["type"] == "message" and message["data"]:
            _call(self._ears[channel][0], message["data"])


def _call(function: Callable[..., None], *args: str) -> None:
    try:
        function(*args)
    except Exception:
        log.exception("Something that was said on the line could not be taken in.")


class _Outage:
    """Says once that something does not work, and how long to wait before the next try."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tries = 0

    def delay_s(self, error: BaseException) -> float:
        if not self._tries:
            log.warning("%s: %s. The service goes on by looking from time to time.", self._what, error)
        self._tries += 1
        return float(min(FIRST_DELAY_S * 2 ** (self._tries - 1), LONGEST_DELAY_S))

    def over(self) -> None:
        if self._tries:
            log.info("Redis answers again.")
        self._tries = 0
