"""What the database servers share: empty databases and their own clients."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from tidegate.testing.servers.processes import ServerFailed
from tidegate.testing.servers.server import ADDRESS, START_DEADLINE_S, USER, Server


class SqlServer(Server):
    """A database server that makes empty databases."""

    _scheme: ClassVar[str]
    _default: ClassVar[str]

    @property
    def url(self) -> str:
        return self.url_of(self._default)

    def url_of(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        return f"{self._scheme}://{USER}:{self.password}@{ADDRESS}:{self.port}/{database}"

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
