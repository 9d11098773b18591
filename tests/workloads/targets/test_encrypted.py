"""Connections that check the server's certificate."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _duckdb as duckdb
import pytest

from tidegate.testing.servers import PostgreSQL
from tidegate.workloads.errors import TaskError
from tidegate.workloads.targets import postgresql as target
from tidegate.workloads.targets.opening import open_target

pytestmark = pytest.mark.servers
_ISSUED = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=tide -days 2
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=tide
printf subjectAltName=IP:127.0.0.1 > names
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile names
mkdir trusted
cp ca.pem trusted/$(openssl x509 -hash -noout -in ca.pem).0
"""


def test_a_certificate_is_checked_against_those_that_the_system_trusts(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["sh", "-e", "-c", _ISSUED], cwd=tmp_path, check=True, capture_output=True)
    con = duckdb.connect(":memory:")
    with encrypted(postgresql, tmp_path), postgresql.database() as url:
        checked = f"{url}?sslmode=verify-full"
        forget(monkeypatch)
        with pytest.raises(TaskError, match="certificate verify failed"):
            open_target(checked, con, str(tmp_path))
        forget(monkeypatch)
        monkeypatch.setattr(target, "TRUSTED", str(tmp_path / "trusted"))
        open_target(checked, con, str(tmp_path)).close()
    con.close()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said where certificates are, as in a sandbox."""
    for name in ("SSL_CERT_DIR", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@contextmanager
def encrypted(server: PostgreSQL, issued: Path) -> Iterator[None]:
    """The server with the certificate that lies in the folder."""
    data = server.folder / "data"
    owner = data.stat()
    for name in ("server.crt", "server.key"):
        shutil.copyfile(issued / name, data / name)
        (data / name).chmod(0o600)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    switch(server, "SET ssl = on", "on")
    try:
        yield
    finally:
        switch(server, "RESET ssl", "off")


def switch(server: PostgreSQL, how: str, wanted: str) -> None:
    """Change the setting, and wait until those who come next find it changed: nobody tells when it is read."""
    server.run_sql(f"ALTER SYSTEM {how}")
    server.run_sql("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 30
    while server.run_sql("SHOW ssl").strip() != wanted:
        assert time.monotonic() < deadline
