"""One suite for all launchers: the worker in this process, and a `tidegate worker` behind Redis and behind RabbitMQ."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import SETTINGS, database_in
from tidegate.app.worker import make_worker
from tidegate.core.job import AttemptKey
from tidegate.core.states import JobStatus, TaskState
from tidegate.ports import Draining
from tidegate.runtime.bell import LocalBell
from tidegate.runtime.celery import CeleryLauncher
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.local import LocalLauncher
from tidegate.runtime.publish import DataFolders
from tidegate.server.progress import ProgressBoard
from tidegate.settings import Settings
from tidegate.store import open_store
from tidegate.testing.cluster import Cluster, Services
from tidegate.testing.conformance.launcher import LEASE_S, LONG, LauncherConformance, Site
from tidegate.testing.servers import RabbitMQ, Redis, Server
from tidegate.workloads.registry import load_workloads

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("launchers")]
QUIET = {**SETTINGS, "beat_s": LEASE_S / 2, "lease_s": LEASE_S}


class TestLocalLauncher(LauncherConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        folder = tmp_path_factory.mktemp("local")
        here = {name: value for name, value in QUIET.items() if not name.startswith("function")}
        settings = Settings(data_dir=folder, **here)  # type: ignore[arg-type]
        folders, clock, bell = DataFolders(folder), SystemClock(), LocalBell()
        folders.open()
        store = open_store(f"sqlite:///{folder / 'tidegate.db'}")
        worker = make_worker(
            settings, "local", instance=secrets.token_hex(6), store=store, folders=folders, bell=bell, clock=clock,
            watcher=ProgressBoard(bell), workloads=load_workloads(),
        )  # fmt: skip
        worker.start()
        yield Site(store, LocalLauncher(worker), clock, folder)
        worker.stop(0.0)
        store.close()


@contextlib.contextmanager
def site_on(broker: Server, folder: Path, **settings: object) -> Iterator[tuple[Site, Cluster]]:
    """A worker process that hears of its work by this broker."""
    cluster = Cluster(
        folder,
        Services(database_in(folder), None, broker.url),
        {**QUIET, **settings},
        servers=0,
        workers=1,
        clocks=False,
    )
    store = open_store(f"sqlite:///{cluster.shared / 'tidegate.db'}")
    launcher = CeleryLauncher(broker.url, cluster="tidegate")
    try:
        for worker in cluster.workers:
            worker.start()
            worker.wait_ready()
        yield Site(store, launcher, SystemClock(), cluster.shared), cluster
    finally:
        launcher.close()
        cluster.close()
        store.close()


class CeleryConformance(LauncherConformance):
    """What holds with any broker."""

    def test_cancels_of_another_installation_are_not_ours(self, site: Site, broker: Server) -> None:
        [start] = site.commit("select sum(range * range) from range(200000000)")
        site.launcher.launch([start])
        site.claimed(start)
        other = CeleryLauncher(broker.url, cluster="another")
        other.cancel([start.key])
        other.close()  # after it was sent
        site.launcher.cancel([AttemptKey(10**6, 1, 1)])
        assert site.final(start).status is JobStatus.SUCCEEDED

    def test_what_is_launched_while_the_broker_is_away_runs_when_it_is_back(
        self, tmp_path: Path, own_broker: Server
    ) -> None:
        with site_on(own_broker, tmp_path) as (site, cluster):
            own_broker.stop()
            [start] = site.commit("select 1")
            site.launcher.launch([start])  # neither raises nor waits
            assert cluster.workers[0].alive
            own_broker.start()
            assert site.final(start).status is JobStatus.SUCCEEDED
            [start] = site.commit("select 2")
            site.launcher.launch([start])
            assert site.final(start).status is JobStatus.SUCCEEDED
            assert cluster.workers[0].alive

    def test_a_worker_without_its_broker_finds_its_starts_and_can_be_stopped(
        self, tmp_path: Path, own_broker: Server
    ) -> None:
        with site_on(own_broker, tmp_path) as (site, cluster):
            own_broker.stop()
            [start] = site.commit("select 1")
            assert site.final(start).status is JobStatus.SUCCEEDED  # nobody has launched it
            assert cluster.workers[0].stop() == 0
            assert site.store.workers() == []

    def test_a_second_signal_ends_the_grace(self, tmp_path: Path, own_broker: Server) -> None:
        with site_on(own_broker, tmp_path, grace_s=600) as (site, cluster):
            (worker,) = cluster.workers
            [start] = site.commit(LONG)
            site.launcher.launch([start])
            site.claimed(start)
            os.kill(worker.pid, signal.SIGTERM)
            site.until(start.key.job_id, lambda _: site.store.workers()[0].draining is Draining.LEAVING)
            assert worker.alive
            assert worker.stop() == 0
            job = site.store.job(start.key.job_id)
            assert job.task_counts[TaskState.QUEUED] == 1
            site.store.check()


class TestCeleryOnRedis(CeleryConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, redis: Redis) -> Redis:
        return redis

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, broker: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with site_on(broker, tmp_path_factory.mktemp("redis")) as (site, _):
            yield site

    @pytest.fixture
    def own_broker(self) -> Iterator[Redis]:
        with Redis() as broker:
            yield broker


class TestCeleryOnRabbitMQ(CeleryConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def broker(cls, rabbitmq: RabbitMQ) -> RabbitMQ:
        return rabbitmq

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, broker: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with site_on(broker, tmp_path_factory.mktemp("rabbitmq")) as (site, _):
            yield site

    @pytest.fixture
    def own_broker(self) -> Iterator[RabbitMQ]:
        with RabbitMQ() as broker:
            yield broker
