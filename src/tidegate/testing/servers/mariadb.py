"""A private MariaDB."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from tidegate.testing.servers.processes import ServerFailed, program
from tidegate.testing.servers.server import ADDRESS, USER
from tidegate.testing.servers.sql_server import SqlServer


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
            f"CREATE OR REPLACE USER '{USER}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%';\n"
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
        where = ["-h", ADDRESS, "-P", str(self.port), "-u", USER]
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
