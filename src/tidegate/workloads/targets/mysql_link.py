"""The connection to MySQL and MariaDB, by PyMySQL: opened, its errors explained, and rows sent through it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants.COMMAND import COM_QUERY
from pymysql.protocol import OKPacketWrapper

from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets.address import Address
from tidegate.workloads.targets.failures import failure, refused_row

_INSERT_BYTES = 1 << 20
_BUSY = {1205, 1213}
_REFUSED = {1048, 1062, 1264, 1265, 1366, 1406, 1451, 1452, 1586, 3819, 4025}
_DENIED = {1044, 1045, 1142, 1143, 1227, 1698}
_LOST = {2006, 2013, 2014, 1053, 1317, 1927}


class Link(Connection):
    """A connection that sends rows it has, and never a file that the server names."""

    def send_rows(self, sql: str, blocks: Iterator[bytes]) -> tuple[int, int]:
        """LOAD DATA LOCAL with these blocks for the file; the rows affected and the warnings."""
        driver: Any = self  # of these the driver states no types
        driver._execute_command(COM_QUERY, sql)
        if not driver._read_packet().is_load_local_packet():
            raise pymysql.InternalError(2014, "the server did not ask for the rows")
        try:
            for block in blocks:
                driver.write_packet(block)
        except BaseException:
            if self.open:  # else the server has gone, which the error says
                self._end_rows()
            raise
        return self._end_rows()

    def _end_rows(self) -> tuple[int, int]:
        driver: Any = self
        driver.write_packet(b"")
        done = OKPacketWrapper(driver._read_packet())
        return done.affected_rows, done.warning_count


def connect(address: Address) -> Link:
    try:
        db = Link(
            host=address.host, port=address.port, user=address.user, password=address.password,
            database=address.database, charset="utf8mb4", autocommit=True, connect_timeout=10, local_infile=True,
            program_name="tidegate", ssl_disabled=address.tls == "disable", ssl=_tls(address.tls),
        )  # fmt: skip
    except pymysql.Error as error:
        raise _not_connected(error, address) from None
    # The server has been told that rows may come; any other question for a file is refused from here on.
    driver: Any = db
    driver._local_infile = False
    return db


def _tls(word: str) -> ssl.SSLContext | None:
    """Made here, since the driver checks no host name unless it is given a file of certificates."""
    if word not in ("require", "verify"):
        return None
    context = ssl.create_default_context()
    if word == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _not_connected(error: pymysql.Error, address: Address) -> TaskError:
    number = error.args[0] if error.args else 0
    if number in _DENIED:
        return TaskError(
            f"{address} refuses this user or password. Nothing was loaded. Correct them in the URL, or in the "
            "setting `targets`.",
            code="target_denied",
            numbers={"retry": 0},
        )
    if number == 1049:
        return TaskError(
            f"{address}: there is no such database. Nothing was loaded.",
            code="no_such_database",
            numbers={"retry": 0},
        )
    told = str(error.args[-1])
    hidden = told.replace(address.password, "…") if address.password else told
    return failure(f"Connecting to {address}", hidden, code="target_unreachable", retry=True)


def explained(error: pymysql.Error) -> TaskError:
    number, told = (error.args[0], str(error.args[-1])) if error.args else (0, str(error))
    if number in _REFUSED or isinstance(error, pymysql.IntegrityError | pymysql.DataError):
        return refused_row(told, None)
    if number in _DENIED:
        return failure("Loading", told, code="target_denied", retry=False)
    if number in _BUSY:
        return failure("Loading", told, code="target_busy", retry=True)
    if number in (1021, 1114, 3, 28):
        return failure("Loading", told, code="target_full", retry=False)
    if number in _LOST or isinstance(error, pymysql.InterfaceError):
        return failure("The connection to the database", told, code="target_lost", retry=True)
    return failure("Loading", told, code="target_error", retry=False)


def batches(blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Rows as literals between parentheses, about a MiB at a time."""
    rest, batch, size = b"", [], 0
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            batch.append(b"(" + b",".join(map(_literal, line.split(b"\t"))) + b")")
            size += len(batch[-1])
            if size > _INSERT_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _literal(value: bytes) -> bytes:
    return b"NULL" if value == b"\\N" else b"'" + value.replace(b"'", b"''") + b"'"
