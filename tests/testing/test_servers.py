"""The private servers of the tests: they serve, survive a kill with their data, and leave nothing behind."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.testing.servers import (
    MariaDB,
    MissingProgram,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Server,
    ServerFailed,
    SqlServer,
    program,
)
from tidegate.testing.servers.processes import tree


def _runs(pid: int) -> bool:
    """Whether there is such a process. Those whose parent ended first wait a moment for init to collect them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_killed_database_keeps_what_it_confirmed(kind: type[SqlServer]):
    with kind() as server, server.database() as url:
        name = url.rpartition("/")[2]
        server.run_sql("CREATE TABLE t (x INT); INSERT INTO t VALUES (41);", name)
        server.kill()
        server.start()
        assert server.run_sql("SELECT x + 1 FROM t", name).strip() == "42"
        server.restart()
        assert server.run_sql("SELECT x + 1 FROM t", name).strip() == "42"


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_database_in_use_can_be_dropped(kind: type[SqlServer]):
    with kind() as server:
        url = server.create_database()
        name = url.rpartition("/")[2]
        command, environment = server._client()
        with subprocess.Popen(
            [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment}, text=True,
        ) as client:  # fmt: skip
            assert client.stdin is not None
            client.stdin.write("CREATE TABLE t (x INT);\n")
            client.stdin.flush()
            server.drop_database(name)
        with pytest.raises(ServerFailed, match=name):
            server.run_sql("SELECT 1", name)


@pytest.mark.parametrize("durable", [False, True])
def test_redis_forgets_at_a_kill_unless_durable(durable: bool):
    with Redis(durable=durable) as server:
        assert server.ask("SET", "x", "1") == "+OK"
        server.kill()
        server.start()
        assert server.ask("EXISTS", "x") == (":1" if durable else ":0")
        server.flush()
        assert server.ask("EXISTS", "x") == ":0"


@pytest.mark.slow
def test_rabbitmq_comes_back_on_its_port():
    with RabbitMQ() as server:
        assert server._answers()
        server.kill()
        with pytest.raises(ConnectionError):
            server._answers()
        server.start()
        assert server._answers()
        server.stop()
        server.start()
        assert server._answers()


def test_a_paused_server_answers_nothing_until_it_goes_on():
    with Redis() as server:
        server.pause()
        with pytest.raises(TimeoutError):
            server.ask("PING")
        server.resume()
        assert server.ask("PING") == "+PONG"


@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB, Redis])
def test_nothing_is_left_of_a_closed_server(kind: type[Server]):
    with kind() as server:
        processes = tree(server.pid)
    assert not [pid for pid in processes if _runs(pid)]
    assert not server.folder.exists()


@pytest.mark.parametrize("kind", ["PostgreSQL", "MariaDB", "Redis"])
def test_a_server_ends_with_the_program_that_started_it(kind: str):
    program = (
        f"import sys; from tidegate.testing.servers import {kind}\n"
        f"server = {kind}(); server.start(); print(server.pid, server.folder, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid, _, folder = starter.stdout.readline().strip().partition(" ")
        handle = os.pidfd_open(int(pid))
        starter.send_signal(signal.SIGKILL)
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)
    shutil.rmtree(folder)


def test_a_server_that_cannot_start_says_why():
    server = Redis()
    other = Redis()
    other.port = server.port
    with server, pytest.raises(ServerFailed, match="Address already in use"), other:
        pass


def test_a_missing_program_names_its_package():
    with pytest.raises(
        MissingProgram, match=r"no-such-program is not installed.*apt-get install -y some-package"
    ):
        program("no-such-program", "some-package")
