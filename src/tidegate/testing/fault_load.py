"""The load of the fault suite: clients that submit and cancel, and the archive that some of their jobs lint."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tidegate.client.client import Client, connect
from tidegate.client.job import Job
from tidegate.errors import TidegateError
from tidegate.testing.cluster import Cluster
from tidegate.testing.history import CancelTold, History, Submitted

_CLIENTS = 3
_PAUSE_S = (0.02, 0.25)
_CANCELLED = 0.2
_LONG = 0.15
_MANY = 0.08
"""Jobs that lint an archive, whose files run in batches."""
FILES = 40
"""In that archive."""


class Clients:
    """Clients that submit and cancel on whichever server answers, until they are stopped."""

    def __init__(self, cluster: Cluster, archive: Path | None, history: History, seed: int) -> None:
        self._cluster = cluster
        self._archive = archive
        self._history = history
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}/{number}"), f"{seed}-{number}"))
            for number in range(_CLIENTS)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let each finish what it is about. Call before the cluster is whole again: what waits for an answer then gets it."""
        self._stopped.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random, name: str) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            many = self._archive is not None and chance.random() < _MANY
            answer = FILES if many else chance.randrange(1_000_000)
            job = self._submit(chance, f"{name}-{number}", answer, many=many)
            if job is not None:
                self._history.submitted.append(Submitted(job.id, f"{name}-{number}", answer, many))
                if chance.random() < _CANCELLED:
                    self._stopped.wait(chance.uniform(0.0, 1.0))
                    self._cancel(chance, job.id)
            self._stopped.wait(chance.uniform(*_PAUSE_S))

    def _submit(self, chance: random.Random, key: str, answer: int, *, many: bool) -> Job | None:
        """Ask one server after the other under one key until one says yes, however long that takes."""
        long = chance.random() < _LONG
        rows = chance.randrange(5_000_000, 40_000_000) if long else 1
        sql = f"select any_value({answer}) as answer, max(hash(i)) as h from range({rows}) t(i)"
        while True:
            with self._some_server(chance) as client:
                if client is not None and many:
                    archive = str(self._archive)
                    return client.submit(
                        "lint",
                        zip_file_path=archive,
                        cache=False,
                        idempotency_key=key,
                        memory="300MiB",
                        cpus=0.5,
                    )
                if client is not None:
                    return client.sql(
                        sql, idempotency_key=key, memory="128MiB", cpus=0.5, max_attempts=3, timeout_s=60.0
                    )

    def _cancel(self, chance: random.Random, job_id: str) -> None:
        for _ in range(100):
            with self._some_server(chance) as client:
                if client is not None:
                    status = client.job(job_id).cancel().status
                    self._history.cancels.append(CancelTold(job_id, status))
                    return

    @contextlib.contextmanager
    def _some_server(self, chance: random.Random) -> Iterator[Client | None]:
        """A client of a server that is not known to be dead; whatever goes wrong with it only ends the block."""
        member = chance.choice(self._cluster.servers)
        if not member.ready:
            time.sleep(0.05)
            yield None
            return
        try:
            with connect(member.url) as client:
                yield client
        except (TidegateError, OSError):
            time.sleep(0.05)


def write_archive(path: Path) -> None:
    """What the jobs of many tasks lint."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(FILES):
            archive.writestr(f"{number}.sql", f"SELECT a_{number} FROM b WHERE c = {number}\n")
