"""A private PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from tidegate.testing.servers.processes import program
from tidegate.testing.servers.server import ADDRESS, USER
from tidegate.testing.servers.sql_server import SqlServer


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
            [program("initdb", "postgresql"), "-D", data, "-U", USER, f"--pwfile={password}", "-E", "UTF8",
             "--auth=scram-sha-256", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        )  # fmt: skip
        if self.listen != ADDRESS:
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
        where = ["-h", ADDRESS, "-p", str(self.port), "-U", USER]
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
