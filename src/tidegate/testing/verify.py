"""Puts together a cluster that is to be hurt, runs the fault suite on it, and says what was found."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tidegate.runtime.celery import CeleryLauncher
from tidegate.store import open_store
from tidegate.testing import network
from tidegate.testing.cluster import FAKETIME, Cluster
from tidegate.testing.fault_kinds import World
from tidegate.testing.fault_load import write_archive
from tidegate.testing.faults import MEMBER_SETTINGS, run_seed, services_of
from tidegate.testing.history import History, Violation, judge
from tidegate.testing.servers import MariaDB, PostgreSQL, Redis

DATABASES: Mapping[str, type[PostgreSQL | MariaDB]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}


class Tally(NamedTuple):
    """Runs and what was found in them. `left_out` says which faults this machine cannot make, and why."""

    seeds: int
    violations: dict[int, list[Violation]]
    jobs: int
    cancels: int
    attempts: int
    faults: dict[str, int]
    took_s: float
    left_out: list[str]


def verify(
    seeds: Sequence[int],
    *,
    database: str = "postgresql",
    servers: int = 2,
    workers: int = 2,
    keep: Path | None = None,
    told: Callable[[str], None] = print,
) -> Tally:
    """Run the fault suite once for each seed, all on one cluster of its own.

    Private servers and processes only: nothing that runs on this machine is used. With root and `ip` the workers get networks
    of their own, and this thread leaves the machine's network for good. Histories that break a promise are written to `keep`.
    Raises MissingProgram when a server program is not installed.
    """
    began = time.monotonic()
    left_out = [] if FAKETIME else ["clock steps: Debian's package libfaketime is not installed"]
    unable = network.missing()
    if unable is None:
        network.enter()
    else:
        left_out.append(f"cut links: {unable}")
    lints = importlib.util.find_spec("sqlfluff") is not None
    if not lints:
        left_out.append("jobs in batches: the SQL linter is not installed (tidegate[lint])")
    histories: list[History] = []
    broken: dict[int, list[Violation]] = {}
    listen = "127.0.0.1" if unable else "0.0.0.0"  # noqa: S104  the network is ours alone
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-verify-")))
        sql = closing.enter_context(DATABASES[database](listen=listen))
        redis = closing.enter_context(Redis(listen=listen))
        url = sql.create_database("verify")
        archive = folder / "many.zip"
        write_archive(archive)
        cluster = Cluster(
            folder,
            services_of(url, redis),
            {**MEMBER_SETTINGS, "source_roots": json.dumps([str(folder)])},
            servers=servers,
            workers=workers,
            islands=unable is None,
        )
        closing.callback(cluster.close)
        cluster.start()
        store = open_store(url)
        closing.callback(store.close)
        launcher = CeleryLauncher(redis.url, cluster="verify")
        closing.callback(launcher.close)
        world = World(cluster, sql, redis, store, launcher, random.Random(), archive if lints else None)
        for seed in seeds:
            with _keeping_logs(keep, seed, cluster):
                verdict = run_seed(world, seed)
            histories.append(verdict.history)
            wrong = judge(verdict.history)
            told(_line(verdict.history, wrong, verdict.took_s))
            if wrong:
                broken[seed] = wrong
                if keep is not None:
                    _keep(keep, verdict.history, cluster)
    return Tally(
        len(histories),
        broken,
        sum(len(history.submitted) for history in histories),
        sum(len(history.cancels) for history in histories),
        sum(len(job.attempts) for history in histories for job in history.jobs.values()),
        dict(Counter(fault.name for history in histories for fault in history.faults)),
        time.monotonic() - began,
        left_out,
    )


def _line(history: History, wrong: Sequence[Violation], took_s: float) -> str:
    again = sum(len(job.attempts) - 1 for job in history.jobs.values() if job.attempts)
    verdict = f"BROKEN: {'; '.join(one.sentence for one in wrong[:3])}" if wrong else "kept"
    return (
        f"seed {history.seed}: {len(history.faults)} faults, {len(history.submitted)} jobs, {len(history.cancels)} cancels, "
        f"{again} attempts again, {took_s:.0f} s: {verdict}"
    )


@contextlib.contextmanager
def _keeping_logs(keep: Path | None, seed: int, cluster: Cluster) -> Iterator[None]:
    """Keep the logs of a run that could not be finished."""
    try:
        yield
    except Exception:
        if keep is not None:
            _keep_logs(keep / f"seed-{seed}", cluster)
        raise


def _keep(folder: Path, history: History, cluster: Cluster) -> None:
    """The history and the logs of a run that broke a promise, to be looked at."""
    folder = folder / f"seed-{history.seed}"
    _keep_logs(folder, cluster)
    (folder / "history.json").write_text(json.dumps(history.as_json(), indent=1))


def _keep_logs(folder: Path, cluster: Cluster) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for member in cluster.members:
        shutil.copyfile(member.log, folder / member.log.name)
