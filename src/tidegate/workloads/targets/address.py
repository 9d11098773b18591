"""Where a target is: its URL taken apart, and what a sandbox must allow to reach it. Nothing here ever shows a password."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from tidegate.errors import InvalidInput

Kind = Literal["sqlite", "postgresql", "mysql"]

_KINDS: dict[str, Kind] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
}
_KINDS["mariadb"] = "mysql"
_DRIVERS = {"", "psycopg", "pymysql", "pysqlite"}
_PORTS: dict[Kind, int] = {"postgresql": 5432, "mysql": 3306}
# Not `verify-ca`: libpq takes it with a file of certificates alone, and not with those that the system trusts.
_TLS: dict[Kind, dict[str, frozenset[str]]] = {
    "postgresql": {"sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-full"})},
    "mysql": {"ssl": frozenset({"disable", "require", "verify"})},
    "sqlite": {},
}
_NAME_FILES = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/services",
)
TRUSTED = "/etc/ssl/certs"
"""The folder of the certificates that the system trusts."""
_TRUST_FILES = (TRUSTED, "/etc/ssl/openssl.cnf")
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Needs:
    """What a sandbox must be allowed, as fields of a task's spec."""

    connect_ports: tuple[int, ...] = ()
    readable_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """A target's URL in parts. `str` and `repr` leave out user and password."""

    kind: Kind
    host: str = ""
    port: int = 0
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: str = ""
    """Of SQLite: the path of the file."""
    tls: str = ""
    """The value of `sslmode` (PostgreSQL) or `ssl` (MySQL); empty: encrypted where the server can."""

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return f"sqlite:///{self.database}"
        return f"{self.kind}://{self._host}:{self.port}/{self.database}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def needs(self) -> Needs:
        """SQLite keeps its journal beside the file, so the folder must be writable. Names are looked up by UDP, which no
        sandbox denies; a long answer comes by TCP."""
        if self.kind == "sqlite":
            return Needs(writable_paths=(os.path.dirname(self.database),))
        return Needs(connect_ports=(self.port, DNS_PORT), readable_paths=_NAME_FILES + _TRUST_FILES)


def parse_address(url: object) -> Address:
    """Take a URL apart. Raises InvalidInput that says what is wrong, without anything that may be secret.

    `sqlite:////srv/data/file.db`, `postgresql://user:password@host:5432/database?sslmode=require`,
    `mysql://…` and `mariadb://…?ssl=verify`. A path of SQLite is made absolute and real: whether it may be written is for
    the judge to say.
    """
    if not isinstance(url, str) or len(url) > 4096 or any(ord(char) < 32 for char in url):
        raise InvalidInput("`into` must be the URL of a database, a text of one line.")
    try:
        parts = urlsplit(url)
        port = parts.port
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InvalidInput(
            "`into` is no URL. Is a `@`, `/` or `#` in the password written as %40, %2F, %23?"
        ) from None
    scheme, _, driver = parts.scheme.partition("+")
    kind = _KINDS.get(scheme)
    if kind is None or driver not in _DRIVERS:
        raise InvalidInput("`into` must begin with sqlite://, postgresql://, mysql:// or mariadb://.")
    if kind == "sqlite":
        return _sqlite(parts.netloc, unquote(parts.path), query)
    database = unquote(parts.path.removeprefix("/"))
    if not parts.hostname or not database or "/" in database or parts.fragment:
        raise InvalidInput(f"`into` must be like {scheme}://user:password@host/database.")
    return Address(
        kind,
        host=unquote(parts.hostname),
        port=port or _PORTS[kind],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        tls=_tls(kind, query),
    )


def _sqlite(netloc: str, path: str, query: dict[str, str]) -> Address:
    if netloc or query or len(path) < 2 or path.endswith("/"):
        raise InvalidInput("`into` for SQLite must be like sqlite:////folder/file.db, with four slashes.")
    return Address("sqlite", database=os.path.realpath(path[1:]))


def _tls(kind: Kind, query: dict[str, str]) -> str:
    """Other parameters are refused: some of the drivers' name files or programs."""
    for name, value in query.items():
        if value not in _TLS[kind].get(name, ()):
            known = "; ".join(f"{name} = {', '.join(sorted(words))}" for name, words in _TLS[kind].items())
            raise InvalidInput(
                f"`into` has a parameter that is not known, or of an unknown value. There are: {known}."
            )
    return next(iter(query.values()), "")
