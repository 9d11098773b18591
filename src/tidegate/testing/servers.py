"""Private PostgreSQL, MariaDB, Redis and RabbitMQ for tests: the real programs, on free ports of loopback, in folders
of their own.

    with Redis() as redis:
        connect(redis.url)
        redis.kill()      # SIGKILL, to all its processes
        redis.start()     # again on the same port and data

Nothing of the machine's own services is used or touched. Each server ends when its `with` block or its program does, also
when that is killed. The programs are those of Debian's packages, found on PATH and where Debian keeps them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
_LOOK_S = 0.02
_ADDRESS = "127.0.0.1"
_PORTS = range(
    20_000, 32_000
)  # below those that Linux gives to clients: nobody takes one while its server is down
_PLACES = ("/usr/sbin", "/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin")
_USER = "tidegate"


class MissingProgram(Exception):
    """A program that tests need is not installed; the message names its Debian package."""


class ServerFailed(Exception):
    """A server ended or did not answer in time; the message holds the end of its log."""


# A process asks to be ended with the thread that started it; this one lasts as long as the program.
_starter = ThreadPoolExecutor(1, "tidegate-test-servers")


def free_port() -> int:
    """A port of loopback on which nobody listens now."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_ADDRESS, port))
            return port


def program(name: str, package: str) -> str:
    """Where a program is. Raises MissingProgram."""
    found = shutil.which(name)
    if found is None:
        places = [str(path / name) for place in _PLACES for path in sorted(Path("/").glob(place[1:]))]
        found = next((place for place in reversed(places) if os.access(place, os.X_OK)), None)
    if found is None:
        raise MissingProgram(f"{name} is not installed. As root: apt-get install -y {package}")
    return found


class Server(ABC):
    """One server: its folder, port and processes. Stopped when it is made; `with` starts it and removes its folder after.

    `durable` has it write through to the disk as it would in earnest, which tests rarely need: what a killed server has
    confirmed survives either way, except for Redis. `listen` is another address for a network of one's own (`network.enter`).
    """

    name: ClassVar[str]
    account: ClassVar[str]
    """The user that runs it when the program is root."""
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    _orphan_signal: ClassVar[str] = "KILL"

    def __init__(self, *, durable: bool = False, listen: str = _ADDRESS) -> None:
        self.durable = durable
        self.listen = listen
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"tidegate-{self.name}-"))
        self.password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False
        self._own(self.folder)

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it, with user and password."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data, once."""

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it serves. May raise OSError while it does not."""

    @property
    def pid(self) -> int:
        """Of its first process."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running.")
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers. Raises MissingProgram and ServerFailed."""
        if self._process is not None:
            raise ServerFailed(f"{self.name} is running already.")
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._process = self._launch(self._command(), self._environment())
        self._wait(self._process, self._answers)

    def stop(self) -> None:
        """Ask it to end, and wait until all its processes are gone."""
        if self._process is None:
            return
        self.resume()
        gone = _Processes(self.pid)
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            gone = _Processes(self.pid)
        gone.send(signal.SIGKILL)  # whatever it has left behind
        self._reap(gone)

    def kill(self) -> None:
        """SIGKILL to all its processes; returns when they are gone."""
        gone = _Processes(self.pid)
        gone.send(signal.SIGKILL)
        self._reap(gone)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing, until `resume`."""
        _Processes(self.pid).send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        _Processes(self.pid).send(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reap(self, processes: _Processes) -> None:
        assert self._process is not None
        self._process.wait(STOP_DEADLINE_S)
        processes.wait(STOP_DEADLINE_S)
        self._process = None

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def _own(self, path: Path) -> None:
        """Give a path to the account that runs the server."""
        if os.geteuid() == 0 and self.account != "root":
            with contextlib.suppress(KeyError):  # then the package is missing, which `program` says
                entry = pwd.getpwnam(self.account)
                os.chown(path, entry.pw_uid, entry.pw_gid)

    def _as_account(self, command: Sequence[str], *extra: str) -> list[str]:
        if os.geteuid() == 0 and self.account != "root":
            who = [f"--reuid={self.account}", f"--regid={self.account}", "--init-groups"]
        else:
            who = []
        return ["setpriv", *who, *extra, "--", *command]

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        full = self._as_account(command, f"--pdeathsig={self._orphan_signal}")
        with (self.folder / "log").open("ab") as log:
            return _starter.submit(
                subprocess.Popen[bytes], full, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=dict(environment), start_new_session=True,
            ).result()  # fmt: skip

    def _once(self, command: Sequence[str]) -> None:
        """Run a program of preparation to its end."""
        done = subprocess.run(
            self._as_account(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            cwd=self.folder, env=dict(self._environment()), timeout=START_DEADLINE_S,
        )  # fmt: skip
        if done.returncode:
            raise ServerFailed(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _wait(self, process: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            with contextlib.suppress(OSError):
                if answers():
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(_LOOK_S)
                self._process = None
                raise ServerFailed(f"{self.name} ended at once with {status}. Its log:\n{self.log[-4000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(
                    f"{self.name} did not answer in {START_DEADLINE_S} s. Its log:\n{self.log[-4000:]}"
                )

    def _connect(self) -> socket.socket:
        return socket.create_connection((_ADDRESS, self.port), timeout=1)


class _Processes:
    """A process and its descendants as they are now, held so that no number can come to mean another process."""

    def __init__(self, pid: int) -> None:
        self._handles: list[int] = []
        for each in _tree(pid):
            with contextlib.suppress(ProcessLookupError):
                self._handles.append(os.pidfd_open(each))

    def send(self, number: signal.Signals) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def wait(self, timeout_s: float) -> None:
        """Wait until all are gone. Raises ServerFailed."""
        deadline = time.monotonic() + timeout_s
        for handle in self._handles:
            poll = select.poll()  # readable once the process has ended
            poll.register(handle, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ServerFailed(f"A process of a test server did not end within {timeout_s} s.")

    def __del__(self) -> None:
        for handle in self._handles:
            os.close(handle)


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


class Redis(Server):
    """Redis in memory; with `durable` every write is in its append-only file before it is confirmed."""

    name = "redis"
    account = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{_ADDRESS}:{self.port}/0"

    def _prepare(self) -> None:
        keep = "appendonly yes\nappendfsync always\n" if self.durable else "appendonly no\n"
        path = self.folder / "redis.conf"
        path.write_text(
            f"bind {self.listen}\nport {self.port}\ndir {self.folder}\nrequirepass {self.password}\n"
            f'save ""\n{keep}daemonize no\n'
        )
        self._own(path)

    def _command(self) -> Sequence[str]:
        return [program("redis-server", "redis-server"), str(self.folder / "redis.conf")]

    def _answers(self) -> bool:
        return self.ask("PING") == "+PONG"

    def ask(self, *words: str, database: int = 0) -> str:
        """One command; the first line of the answer as the protocol has it, such as `+OK`."""
        answer = b""
        with self._connect() as link:
            for command in (("AUTH", self.password), ("SELECT", str(database)), words):
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command)
                link.sendall(f"*{len(command)}\r\n{parts}".encode())
                answer = link.makefile("rb").readline()
        return answer.decode().strip()

    def flush(self) -> None:
        """FLUSHALL: it forgets everything."""
        if self.ask("FLUSHALL") != "+OK":
            raise ServerFailed("redis did not forget everything.")


class SqlServer(Server):
    """A database server that makes empty databases."""

    _scheme: ClassVar[str]
    _default: ClassVar[str]

    @property
    def url(self) -> str:
        return self.url_of(self._default)

    def url_of(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        return f"{self._scheme}://{_USER}:{self.password}@{_ADDRESS}:{self.port}/{database}"

    def create_database(self, name: str = "") -> str:
        """Make an empty database; its URL."""
        name = name or f"tidegate_{secrets.token_hex(6)}"
        self.run_sql(f"CREATE DATABASE {name}")
        return self.url_of(name)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, dropped afterwards with all who are still connected."""
        url = self.create_database()
        try:
            yield url
        finally:
            self.drop_database(url.rpartition("/")[2])

    @abstractmethod
    def drop_database(self, name: str) -> None: ...

    @abstractmethod
    def _client(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The database's own client, reading SQL from its input; with what environment."""

    def run_sql(self, sql: str, database: str = "", within_s: float = START_DEADLINE_S) -> str:
        """Run statements by the database's own client; what it printed. Raises ServerFailed."""
        command, environment = self._client()
        done = subprocess.run(
            [*command, database or self._default], input=sql, capture_output=True, text=True, check=False,
            env={**self._environment(), **environment}, timeout=within_s,
        )  # fmt: skip
        if done.returncode:
            raise ServerFailed(f"{self.name} refused {sql!r}: {done.stderr}")
        return done.stdout


class PostgreSQL(SqlServer):
    name = "postgresql"
    account = "postgres"
    _scheme = "postgresql+psycopg"
    _default = "postgres"
    _stop_signal = signal.SIGINT  # "fast": does not wait for clients
    _orphan_signal = "QUIT"  # its processes end at once and leave no shared memory behind

    def _prepare(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        self._own(password)
        data = str(self.folder / "data")
        self._once(
            [program("initdb", "postgresql"), "-D", data, "-U", _USER, f"--pwfile={password}", "-E", "UTF8",
             "--auth=scram-sha-256", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        )  # fmt: skip
        if self.listen != _ADDRESS:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet scram-sha-256\n")

    def _command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": self.listen,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": 200,
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [program("postgres", "postgresql"), "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        # The eighth line is how pg_ctl knows as well; the first guards against the file of a killed predecessor.
        lines = (self.folder / "data" / "postmaster.pid").read_text().split()
        return lines[:1] == [str(self.pid)] and lines[-1] == "ready"

    def _client(self) -> tuple[Sequence[str], Mapping[str, str]]:
        where = ["-h", _ADDRESS, "-p", str(self.port), "-U", _USER]
        command = [
            program("psql", "postgresql"),
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            *where,
            "-d",
        ]
        return command, {"PGPASSWORD": self.password}

    def drop_database(self, name: str) -> None:
        self.run_sql(f"DROP DATABASE {name} WITH (FORCE)")


class MariaDB(SqlServer):
    name = "mariadb"
    account = "mysql"
    _scheme = "mysql+pymysql"
    _default = "mysql"

    def _prepare(self) -> None:
        self._once(
            [program("mariadb-install-db", "mariadb-server"), "--no-defaults", f"--datadir={self.folder / 'data'}",
             "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        )  # fmt: skip
        accounts = self.folder / "accounts.sql"  # one statement a line
        accounts.write_text(
            f"CREATE OR REPLACE USER '{_USER}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{_USER}'@'%';\n"
        )
        self._own(accounts)

    def _command(self) -> Sequence[str]:
        # What is confirmed has left the process, so that it survives a kill; through to the disk only if durable.
        return [
            program("mariadbd", "mariadb-server"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            f"--bind-address={self.listen}", f"--port={self.port}", f"--socket={self.folder / 'socket'}",
            # Of its own: a server that starts removes the temporary tables of others that use the same folder.
            f"--tmpdir={self.folder / 'data'}",
            f"--pid-file={self.folder / 'pid'}", f"--init-file={self.folder / 'accounts.sql'}",
            "--skip-name-resolve", "--character-set-server=utf8mb4", "--innodb-buffer-pool-size=128M",
            "--innodb-log-file-size=64M", "--max-connections=200",
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 2}",
            f"--innodb-flush-method={'fsync' if self.durable else 'nosync'}",
        ]  # fmt: skip

    def _answers(self) -> bool:
        with self._connect() as link:
            return link.recv(5)[4:] == b"\n"  # protocol version 10: the greeting, after recovery is done

    def _client(self) -> tuple[Sequence[str], Mapping[str, str]]:
        where = ["-h", _ADDRESS, "-P", str(self.port), "-u", _USER]
        command = [
            program("mariadb", "mariadb-server"),
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            *where,
        ]
        return command, {"MYSQL_PWD": self.password}

    def drop_database(self, name: str) -> None:
        # A transaction left open holds the tables, and the DROP would wait for it.
        ids = self.run_sql(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'").split()
        for each in ids:
            with contextlib.suppress(ServerFailed):  # it has ended by itself
                self.run_sql(f"KILL {each}")
        self.run_sql(f"DROP DATABASE {name}")


class RabbitMQ(Server):
    """RabbitMQ as a node of its own, with a port mapper of its own: nothing of Erlang is shared with the machine."""

    name = "rabbitmq"
    account = "rabbitmq"

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__(durable=durable)
        self._mapper_port, self._node_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://{_USER}:{self.password}@{_ADDRESS}:{self.port}//"

    def _prepare(self) -> None:
        settings = self.folder / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = {_ADDRESS}:{self.port}\ndefault_user = {_USER}\ndefault_pass = {self.password}\n"
            "log.console = true\nlog.file = false\nvm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 64MB\n"
        )
        self._own(settings)

    def _environment(self) -> Mapping[str, str]:
        folder = str(self.folder)
        return {
            **super()._environment(),
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the server instead of starting and watching it
            "RABBITMQ_NODENAME": f"tidegate-{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
                " +sbwt none +sbwtdcpu none +sbwtdio none"  # idle schedulers sleep instead of spinning
            ),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": _ADDRESS,
        }

    def _command(self) -> Sequence[str]:
        script = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one on PATH changes users by `su`
        if not os.access(script, os.X_OK):
            raise MissingProgram(
                "rabbitmq-server is not installed. As root: apt-get install -y rabbitmq-server"
            )
        return [script]

    def start(self) -> None:
        if self._mapper is None:
            self._mapper = self._launch([program("epmd", "rabbitmq-server")], self._environment())
        super().start()

    def close(self) -> None:
        super().close()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(STOP_DEADLINE_S)
            self._mapper = None

    def _answers(self) -> bool:
        with self._connect() as link:
            link.sendall(b"AMQP\x00\x00\x09\x01")
            link.settimeout(START_DEADLINE_S)
            return link.recv(1) == b"\x01"  # a method frame: it begins to talk
