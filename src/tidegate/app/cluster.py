"""What a cluster adds: the broker between servers and workers, and Redis between all of them. Loaded only for a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tidegate.cache.bell import RedisBell
from tidegate.cache.connection import connect
from tidegate.cache.feed import LedgerFeed, fed
from tidegate.cache.ledger import RedisLedgerCache
from tidegate.cache.line import RedisLine
from tidegate.cache.progress import ProgressTeller, hear_progress
from tidegate.core.job import AttemptKey
from tidegate.ports import Bell, LedgerCache, Store
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.celery import CeleryControl, CeleryLauncher
from tidegate.runtime.celery_worker import CeleryWorker
from tidegate.runtime.worker import AttemptWatcher, Worker
from tidegate.server.progress import ProgressBoard
from tidegate.settings import Settings


class Wires:
    """What connects this process with the others. Without `redis_url` the bell rings only here, and progress stays here."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url is not None
        self._settings = settings
        self._broker_url = settings.broker_url
        self._closing = contextlib.ExitStack()
        self._line: RedisLine | None = None
        self.bell: Bell = LocalBell()
        self.ledger: LedgerCache | None = None
        self._feed: LedgerFeed | None = None
        if settings.redis_url is not None:
            self._line = RedisLine(settings.redis_url, settings.cluster_name)
            self._closing.callback(self._line.close)
            self.bell = RedisBell(self._line)
            self.ledger = cache = RedisLedgerCache(settings.redis_url, settings.cluster_name)
            self._closing.callback(cache.close)
            self._feed = LedgerFeed(cache)
            self._feed.start()
            self._closing.callback(self._feed.close)

    def fed(self, store: Store) -> Store:
        """The store, whose commits are told to the ledger's cache."""
        return fed(store, self._feed) if self._feed is not None else store

    def launcher(self) -> CeleryLauncher:
        """Brings starts and cancels to the workers."""
        launcher = CeleryLauncher(self._broker_url, cluster=self._settings.cluster_name)
        self._closing.callback(launcher.close)
        return launcher

    def control(self) -> CeleryControl:
        """Speaks to workers from afar."""
        control = CeleryControl(self._broker_url)
        self._closing.callback(control.close)
        return control

    def show_progress(self, board: ProgressBoard) -> None:
        """Put on the board what workers tell. To be called before anybody waits for the bell."""
        if self._line is not None:
            hear_progress(self._line, board)

    def worker(
        self,
        make_worker: Callable[[AttemptWatcher], Worker],
        before_drain: Callable[[], None],
        announce: Callable[[], None],
    ) -> CeleryWorker:
        """The worker of this machine, which tells the servers how far its attempts are."""
        return CeleryWorker(
            self._broker_url,
            make_worker,
            self._teller(),
            cluster=self._settings.cluster_name,
            grace_s=self._settings.grace_s,
            before_drain=before_drain,
            announce=announce,
        )

    def redis_ping(self) -> Callable[[], object] | None:
        """Asks Redis whether it is there; None without one."""
        if self._settings.redis_url is None:
            return None
        client = connect(self._settings.redis_url)
        self._closing.callback(client.close)
        return client.ping

    def close(self) -> None:
        self._closing.close()

    def _teller(self) -> AttemptWatcher:
        if self._line is None:
            return _Nobody()
        teller = ProgressTeller(self._line)
        teller.start()
        self._closing.callback(teller.close)
        return teller


class _Nobody:
    """Who watches the attempts of a worker that can tell nobody."""

    def moved(self, key: AttemptKey, share: float | None, peak_memory_bytes: int) -> None: ...

    def ended(self, key: AttemptKey) -> None: ...

    def refused(self, keys: Sequence[AttemptKey]) -> None: ...
