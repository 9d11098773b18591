"""Sends messages over channels: one thread for each, so that a slow one holds up no other.

A message is taken by a committed write before it is sent, for one try, and ended after it: so of two servers one sends it,
also while the leader changes. It is sent at least once: when a server dies between sending and noting that, or a channel
answers too late, it goes out again after `CLAIM_S`, under the same id.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta

from tidegate.core.alert_rules import Rule
from tidegate.errors import NotFound, Unavailable
from tidegate.ports import AlertStore, Channel, ChannelFailed, ChannelState, Clock, Message, Notice
from tidegate.server.alerts.messages import message_of
from tidegate.server.leader import Leadership

log = logging.getLogger("tidegate.alerts")

CLAIM_S = 120.0
"""For so long a message that was taken is nobody else's."""
STUCK_S = 60.0
"""A channel that has not come back for so long counts as failed, and again after so long more."""
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0
MOST_TRIES = 10
"""With these pauses a message is tried for about 40 minutes."""
_STOP_S = 5.0


def pause_s(tries: int) -> float:
    """How long to wait after so many failed tries: twice as long each time."""
    return float(min(FIRST_PAUSE_S * 2 ** (tries - 1), LONGEST_PAUSE_S))


class _Busy:
    """One message on its way: since when, and when it was last told that this takes long."""

    def __init__(self, since_s: float) -> None:
        self.since_s = self.told_s = since_s


class Postman:
    """The thread of one channel. It sends what is due while this server leads, and tests whenever it is asked."""

    def __init__(
        self,
        channel: Channel,
        store: AlertStore,
        clock: Clock,
        leader: Leadership,
        render: Callable[[Notice], Message],
    ) -> None:
        self.channel = channel
        self._store = store
        self._clock = clock
        self._leader = leader
        self._render = render
        self._tests: queue.SimpleQueue[tuple[Message, Future[str | None]]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._busy: _Busy | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-post", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """What is being sent may end; a channel that hangs is not waited for."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def test(self, message: Message) -> Future[str | None]:
        """Send it as soon as the channel is free; None when that went well, or why not."""
        answer: Future[str | None] = Future()
        self._tests.put((message, answer))
        self.wake()
        return answer

    def watch(self) -> None:
        """Note when the channel has not come back for too long."""
        busy, now_s = self._busy, self._clock.monotonic()
        if busy is not None and now_s - busy.told_s >= STUCK_S:
            busy.told_s = now_s
            self._note(f"It has not answered for {now_s - busy.since_s:.0f} s.")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self._test_all()
                while not self._stopping.is_set() and self._leader.leads and self._send_one():
                    self._test_all()
            except Exception as error:  # noqa: BLE001 - the store is away: what was taken comes again
                log.warning("Messages over channel %r have to wait: %s", self.channel.name, error)

    def _test_all(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                message, answer = self._tests.get_nowait()
                if answer.set_running_or_notify_cancel():
                    answer.set_result(self._test(message))

    def _test(self, message: Message) -> str | None:
        error = self._try(lambda: message)
        self._note(error)
        return error

    def _send_one(self) -> bool:
        """Whether there was one."""
        now = self._clock.now()
        notice = self._store.claim_notice(self.channel.name, now, now + timedelta(seconds=CLAIM_S))
        if notice is None:
            return False
        error = self._try(lambda: self._render(notice))
        ended_at = self._clock.now()
        again_at = ended_at + timedelta(seconds=pause_s(notice.tries)) if notice.tries < MOST_TRIES else None
        self._store.end_notice(notice, ended_at, error, again_at)
        if error is not None:
            what = (
                "It is given up"
                if again_at is None
                else f"It is tried again in {pause_s(notice.tries):.0f} s"
            )
            log.warning(
                "Channel %r failed with message %s: %s %s.", self.channel.name, notice.id, error, what
            )
        return True

    def _try(self, write: Callable[[], Message]) -> str | None:
        """Why it failed, whatever did: a message that cannot even be written must end as others do, not be claimed again."""
        self._busy = _Busy(self._clock.monotonic())
        try:
            self.channel.send(write())
        except ChannelFailed as failed:
            return str(failed)
        except Exception as error:
            log.exception("A message over channel %r failed in a way that it should not.", self.channel.name)
            return f"{self.channel.address} failed with {type(error).__name__}."
        finally:
            self._busy = None
        return None

    def _note(self, error: str | None) -> None:
        try:
            self._store.note_channel(self.channel.name, self._clock.now(), error)
        except Unavailable as away:
            log.warning("How channel %r does could not be noted: %s", self.channel.name, away)


class Post:
    """All channels of this server. `rules` are for what is said beside the figures, `place` says which Tidegate speaks."""

    def __init__(
        self,
        channels: Sequence[Channel],
        store: AlertStore,
        clock: Clock,
        leader: Leadership,
        rules: Mapping[str, Rule],
        place: str,
    ) -> None:
        def render(notice: Notice) -> Message:
            return message_of(notice, rules, place)

        self.place = place
        self._store = store
        self._men = {channel.name: Postman(channel, store, clock, leader, render) for channel in channels}

    def start(self) -> None:
        for man in self._men.values():
            man.start()

    def stop(self) -> None:
        for man in self._men.values():
            man.stop()

    def wake(self) -> None:
        """Something may be due."""
        for man in self._men.values():
            man.watch()
            man.wake()

    def channels(self) -> list[tuple[Channel, ChannelState]]:
        """Each with how it does, in order of name. Blocks."""
        states = {state.name: state for state in self._store.channel_states()}
        return [
            (man.channel, states.get(name, ChannelState(name))) for name, man in sorted(self._men.items())
        ]

    def test(self, name: str, message: Message) -> Future[str | None]:
        """See `Postman.test`. Raises NotFound."""
        if name not in self._men:
            known = ", ".join(sorted(self._men)) or "none; see the setting alert_channels"
            raise NotFound(f"There is no alert channel {name!r:.80}. There are: {known}.")
        return self._men[name].test(message)
